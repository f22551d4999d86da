package main

import (
	"fmt"
	"net"
	"strconv"

	"github.com/micro/go-micro/client"
	"github.com/micro/go-micro/registry"
	"github.com/micro/go-micro/registry/consul"
	"github.com/micro/go-micro/registry/memory"
	"github.com/micro/go-micro/server"
)

var usualServer, usualClient = server.NewServer, client.NewClient

func newRegistry(o *options) registry.Registry {
	switch o.registry {
	case "memory":
		return memory.NewRegistry()
	case "mdns":
		return registry.NewRegistry()
	case "consul":
		return consul.NewRegistry(registry.Addrs(o.registryAddress))
	}
	must(fmt.Errorf("v1.1.0 has no registry %q", o.registry))
	return nil
}

func nodeAt(address string) *registry.Node {
	host, text, err := net.SplitHostPort(address)
	must(err)
	port, err := strconv.Atoi(text)
	must(err)
	return &registry.Node{Id: "alone", Address: host, Port: port}
}
