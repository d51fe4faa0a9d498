package flowtest

import "fmt"

// Machines is a policy file: a camera's packets (udp_dst 5004) go to port 3 while the sensor, 10.0.0.1, says that something moves (udp_dst 5683; 5684
// says that nothing does any more), and who tries so many TCP ports within a minute is shut out.
func Machines(serial, ports int) string { return fmt.Sprintf(machines, serial, ports) }

const machines = `
serial: %d
chain:
  - machine:
      machines:
        - name: sensor
          for: {ip_src: 10.0.0.1}
          key: network
          start: quiet
          states: {quiet: {output: 3}, motion: {output: 3}}
          transitions:
            - {from: quiet, to: motion, match: {udp_dst: 5683}}
            - {from: motion, to: quiet, match: {udp_dst: 5684}}
        - name: camera
          for: {udp_dst: 5004}
          key: network
          start: "on"
          states:
            "on":
              rules: [{name: stream, match: {udp_dst: 5004}, when: {sensor: motion}, action: {output: 3}}]
              action: deny
        - name: scan
          for: {ip_proto: tcp}
          key: src
          forget: 1h
          on_error: start
          start: good
          states: {good: {output: 3}, scanner: deny}
          transitions:
            - {from: good, to: scanner, tcp_flags: [syn, no-ack], count: %d, distinct: tcp_dst, within: 60s}
  - forward: {mode: normal}
`
