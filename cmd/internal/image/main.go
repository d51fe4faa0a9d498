// Command image writes the container image of the gateway: one program, certificate authorities, a user that is not root. There
// is no base image, no shell and no package manager in it, and nothing is fetched to make it.
//
//	go run ./cmd/internal/image -o switchbridge.tar -version 1.0 bin/switchbridge
//
// The file is an OCI image layout (image-spec 1.1) and what "docker save" writes at once, so that docker, podman, skopeo and
// containerd load it. The same program, version and time give the same bytes.
package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// User is whom the program runs as in the image. 65532 is "nonroot" in the images that many others are built from.
const user = 65532

const cacheDirectory = "/var/cache/switchbridge"

func main() {
	var img image
	var created int64
	out := flag.String("o", "", "file to write")
	license := flag.String("license", "", "file that says who may do what with the program")
	flag.StringVar(&img.version, "version", "unknown", "the program's version, which becomes the image's tag")
	flag.StringVar(&img.revision, "revision", "", "the commit that the program was built from")
	flag.StringVar(&img.architecture, "architecture", runtime.GOARCH, "the processor that the program was built for")
	flag.Int64Var(&created, "created", 0, "seconds since 1970: the age of the image and of all files in it")
	flag.Parse()
	if *out == "" || *license == "" || flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: image -o FILE -license FILE [flags] PROGRAM")
		flag.PrintDefaults()
		os.Exit(2)
	}
	img.created = time.Unix(created, 0).UTC()
	if err := write(*out, flag.Arg(0), *license, &img); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func write(out, program, license string, img *image) error {
	var err error
	if img.program, err = os.ReadFile(program); err != nil {
		return err
	}
	if img.license, err = os.ReadFile(license); err != nil {
		return err
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	return errors.Join(img.write(f), f.Close())
}

// image is all that an image is made of.
type image struct {
	program, license  []byte
	version, revision string
	architecture      string
	created           time.Time
}

// descriptor names a blob (image-spec, descriptor.md).
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

var notInTag = regexp.MustCompile(`[^A-Za-z0-9_.-]`)

// write writes the image as a tar file.
func (img *image) write(w io.Writer) error {
	layer, err := img.layer()
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(layer); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}

	a := &archive{w: tar.NewWriter(w), time: img.created}
	tag := "switchbridge:" + notInTag.ReplaceAllString(cmp.Or(img.version, "unknown"), "-")
	a.directory("blobs/", 0o755, 0)
	a.directory("blobs/sha256/", 0o755, 0)
	layers := []descriptor{a.blob("application/vnd.oci.image.layer.v1.tar+gzip", packed.Bytes())}
	config := a.blob("application/vnd.oci.image.config.v1+json", img.config(layer))
	manifest := a.blob("application/vnd.oci.image.manifest.v1+json", marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers}))
	// What "ctr images import" and docker with containerd name the image by, and what skopeo does.
	manifest.Annotations = map[string]string{"io.containerd.image.name": "docker.io/library/" + tag, "org.opencontainers.image.ref.name": tag[len("switchbridge:"):]}
	a.file("index.json", 0o644, marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []descriptor{manifest}}))
	a.file("manifest.json", 0o644, marshal([]map[string]any{{ // docker's own
		"Config": blobName(config), "RepoTags": []string{tag}, "Layers": []string{blobName(layers[0])}}}))
	a.file("oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return a.close()
}

// config is the image's configuration (image-spec, config.md).
func (img *image) config(layer []byte) []byte {
	return marshal(map[string]any{
		"created": img.created.Format(time.RFC3339), "architecture": img.architecture, "os": "linux",
		"config": map[string]any{
			"User":         fmt.Sprintf("%d:%d", user, user),
			"Env":          []string{"PATH=/usr/bin", "CACHE_DIRECTORY=" + cacheDirectory},
			"Entrypoint":   []string{"/usr/bin/switchbridge"},
			"Cmd":          []string{"run", "--config", "/etc/switchbridge/switchbridge.yaml"},
			"WorkingDir":   "/etc/switchbridge",
			"ExposedPorts": map[string]any{"6653/tcp": struct{}{}},
			"StopSignal":   "SIGTERM",
			"Labels": map[string]string{
				"org.opencontainers.image.title":    "switchbridge",
				"org.opencontainers.image.version":  img.version,
				"org.opencontainers.image.revision": img.revision,
				"org.opencontainers.image.licenses": "Apache-2.0",
			},
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
		"history": []map[string]any{{"created": img.created.Format(time.RFC3339), "created_by": "switchbridge's make image"}},
	})
}

// layer is the image's only one.
func (img *image) layer() ([]byte, error) {
	var b bytes.Buffer
	a := &archive{w: tar.NewWriter(&b), time: img.created}
	for _, dir := range []string{"etc/", "etc/ssl/", "etc/ssl/certs/", "etc/switchbridge/", "usr/", "usr/bin/", "usr/share/", "usr/share/doc/", "usr/share/doc/switchbridge/", "var/", "var/cache/"} {
		a.directory(dir, 0o755, 0)
	}
	a.directory(cacheDirectory[1:]+"/", 0o700, user)
	a.file("etc/passwd", 0o644, fmt.Appendf(nil, "root:x:0:0:root:/:/nologin\nswitchbridge:x:%d:%[1]d:switchbridge:/etc/switchbridge:/nologin\n", user))
	a.file("etc/group", 0o644, fmt.Appendf(nil, "root:x:0:\nswitchbridge:x:%d:\n", user))
	a.file("etc/ssl/certs/ca-certificates.crt", 0o644, authorities())
	a.file("usr/bin/switchbridge", 0o755, img.program)
	a.file("usr/share/doc/switchbridge/copyright", 0o644, img.license)
	err := a.close()
	return b.Bytes(), err
}

// authorities are Mozilla's, as the Go project hands them on: the machine that builds the image has no say. Those that Mozilla trusts under a
// condition are left out, since a file of certificates can't say it.
func authorities() []byte {
	var b bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
		}
	}
	return b.Bytes()
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // of strings and numbers alone
	}
	return b
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// blobName is where a blob lies (image-spec, image-layout.md).
func blobName(d descriptor) string { return "blobs/sha256/" + d.Digest[len("sha256:"):] }

// archive writes a tar file that knows nothing of this machine. Its first error is close's.
type archive struct {
	w    *tar.Writer
	time time.Time
	err  error
}

func (a *archive) blob(mediaType string, b []byte) descriptor {
	d := descriptor{MediaType: mediaType, Digest: digest(b), Size: len(b)}
	a.file(blobName(d), 0o644, b)
	return d
}

func (a *archive) directory(name string, mode int64, owner int) {
	a.put(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode, Uid: owner, Gid: owner}, nil)
}

func (a *archive) file(name string, mode int64, b []byte) {
	a.put(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(b))}, b)
}

func (a *archive) put(h *tar.Header, b []byte) {
	h.ModTime, h.Format = a.time, tar.FormatUSTAR
	if a.err == nil {
		a.err = a.w.WriteHeader(h)
	}
	if a.err == nil {
		_, a.err = a.w.Write(b)
	}
}

func (a *archive) close() error { return errors.Join(a.err, a.w.Close()) }
