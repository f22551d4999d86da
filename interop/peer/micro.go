package main

import (
	"context"

	// `go-micro` stands for the module of the release, which the build puts here.
	"go-micro/broker"
	"go-micro/client"
	"go-micro/codec/bytes"
	"go-micro/codec/json"
	"go-micro/errors"
	"go-micro/metadata"
	"go-micro/registry"
	"go-micro/server"
)

type (
	bytesFrame   = bytes.Frame
	serverStream = server.Stream
	clientStream = client.Stream
)

var newError, parseError = errors.New, errors.Parse

func metadataOf(ctx context.Context) map[string]string {
	found, _ := metadata.FromContext(ctx)
	return found
}

func withMetadata(ctx context.Context, values map[string]string) context.Context {
	return metadata.NewContext(ctx, values)
}

// alone is a registry that knows one node, which says what it is asked to say.
func alone(o *options) registry.Registry {
	r, node := newRegistry(&options{registry: "memory"}), nodeAt(o.address)
	node.Metadata = map[string]string{}
	if o.protocol != "" {
		node.Metadata["protocol"] = o.protocol
	}
	must(r.Register(&registry.Service{Name: o.service, Version: "latest", Nodes: []*registry.Node{node}}))
	return r
}

func newBroker(o *options, r registry.Registry) broker.Broker {
	return broker.NewBroker(broker.Registry(r), broker.Addrs(o.brokerAddress))
}

func newServer(o *options) server.Server {
	r := newRegistry(o)
	options := []server.Option{
		server.Name(o.name), server.Version(o.version), server.Metadata(o.metadata),
		server.Registry(r), server.Broker(newBroker(o, r)), server.Address(or(o.address, "127.0.0.1:0")),
		server.RegisterTTL(o.ttl), server.RegisterInterval(o.interval),
	}
	if o.id != "" {
		options = append(options, server.Id(o.id))
	}
	return usualServer(options...)
}

func newClient(o *options) client.Client {
	var r registry.Registry
	if o.address != "" {
		r = alone(o)
	} else {
		r = newRegistry(o)
	}
	return usualClient(
		client.Registry(r), client.Broker(newBroker(o, r)), client.ContentType(o.codec),
		client.RequestTimeout(o.timeout), client.Retries(o.retries), client.PoolSize(o.callers),
		client.Codec("application/x-go", json.NewCodec),
	)
}

func newSubscriber(s server.Server, o *options, heard any) server.Subscriber {
	if o.queue == "" {
		return s.NewSubscriber(o.topic, heard)
	}
	return s.NewSubscriber(o.topic, heard, server.SubscriberQueue(o.queue))
}

func streaming(c client.Client, o *options) client.Request {
	return c.NewRequest(o.service, o.endpoint, &Request{}, client.StreamingRequest())
}

func watching(o *options) []registry.WatchOption {
	if o.service == "" {
		return nil
	}
	return []registry.WatchOption{registry.WatchService(o.service)}
}
