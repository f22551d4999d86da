package main

import (
	"encoding/json"
	"fmt"

	"github.com/micro/go-micro/v2/client"
	"github.com/micro/go-micro/v2/client/grpc"
	"github.com/micro/go-micro/v2/debug/service/handler"
	"github.com/micro/go-micro/v2/registry"
	"github.com/micro/go-micro/v2/registry/memory"
	"github.com/micro/go-micro/v2/server"
	grpcserver "github.com/micro/go-micro/v2/server/grpc"
)

// xGo is a codec that no Python process has.
type xGo struct{}

func (xGo) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (xGo) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }
func (xGo) Name() string                       { return "x-go" }

func usualClient(options ...client.Option) client.Client {
	return grpc.NewClient(append(options, grpc.Codec("application/x-go", xGo{}))...)
}

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
