package main

import (
	"fmt"

	"go-micro.dev/v4/client"
	"go-micro.dev/v4/registry"
	"go-micro.dev/v4/server"
)

var usualServer, usualClient = server.NewServer, client.NewClient

func newRegistry(o *options) registry.Registry {
	switch o.registry {
	case "memory":
		return registry.NewMemoryRegistry()
	case "mdns":
		return registry.NewRegistry()
	}
	must(fmt.Errorf("v4.11.0 has no registry %q", o.registry))
	return nil
}

func nodeAt(address string) *registry.Node { return &registry.Node{Id: "alone", Address: address} }
