package main

import (
	"fmt"

	"github.com/micro/go-micro/v2/client/grpc"
	"github.com/micro/go-micro/v2/debug/service/handler"
	"github.com/micro/go-micro/v2/registry"
	"github.com/micro/go-micro/v2/registry/memory"
	"github.com/micro/go-micro/v2/server"
	grpcserver "github.com/micro/go-micro/v2/server/grpc"
)

var usualClient = grpc.NewClient

// usualServer has the handler that every service of this release has.
func usualServer(options ...server.Option) server.Server {
	s := grpcserver.NewServer(options...)
	must(s.Handle(s.NewHandler(handler.NewHandler(usualClient()), server.InternalHandler(true))))
	return s
}

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
