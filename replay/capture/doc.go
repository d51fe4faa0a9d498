// Package capture reads pcap and pcapng files, plain or compressed by gzip, as
// one stream of Ethernet frames, with a bounded amount of memory.
//
// Several files are one capture: each begins where the one before it ended.
// Packets of link types other than Ethernet are given an Ethernet header where
// they carry an EtherType or plain IP (raw IP, BSD loopback, Linux cooked
// capture); other link types are an error that names them.
//
// A gateway's records of decisions are read as a capture, too: a file that begins with a line of JSON. Their packets have the headers that were
// decided by, and nothing beyond.
package capture
