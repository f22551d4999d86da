package main

import (
	"fmt"

	"github.com/micro/go-micro/client"
	"github.com/micro/go-micro/debug/service/handler"
	"github.com/micro/go-micro/registry"
	"github.com/micro/go-micro/registry/memory"
	"github.com/micro/go-micro/server"
	"github.com/micro/go-plugins/registry/consul"
)

var usualClient = client.NewClient

// usualServer has the handler that every service of this release has.
func usualServer(options ...server.Option) server.Server {
	s := server.NewServer(options...)
	must(s.Handle(s.NewHandler(handler.DefaultHandler, server.InternalHandler(true))))
	return s
}

func newRegistry(o *options) registry.Registry {
	switch o.registry {
	case "memory":
		return memory.NewRegistry()
	case "mdns":
		return registry.NewRegistry()
	case "consul":
		return consul.NewRegistry(registry.Addrs(o.registryAddress))
	}
	must(fmt.Errorf("v1.18.0 has no registry %q", o.registry))
	return nil
}

func nodeAt(address string) *registry.Node { return &registry.Node{Id: "alone", Address: address} }
