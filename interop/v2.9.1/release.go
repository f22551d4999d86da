package main

import (
	"fmt"

	"github.com/micro/go-micro/v2/client/grpc"
	"github.com/micro/go-micro/v2/registry"
	"github.com/micro/go-micro/v2/registry/memory"
	grpcserver "github.com/micro/go-micro/v2/server/grpc"
)

var usualServer, usualClient = grpcserver.NewServer, grpc.NewClient

func newRegistry(o *options) registry.Registry {
	switch o.registry {
	case "memory":
		return memory.NewRegistry()
	case "mdns":
		return registry.NewRegistry()
	}
	must(fmt.Errorf("v2.9.1 has no registry %q", o.registry))
	return nil
}

func nodeAt(address string) *registry.Node { return &registry.Node{Id: "alone", Address: address} }
