// Go Micro v4.11.0 as it comes: mucp over HTTP, protobuf, mDNS, its selector with its cache; client and server.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"go-micro.dev/v4/client"
	"go-micro.dev/v4/logger"
	"go-micro.dev/v4/server"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type payload = wrapperspb.BytesValue

type Echo struct{}

func (*Echo) Echo(_ context.Context, request, reply *payload) error {
	reply.Value = request.Value
	return nil
}

func (*Echo) Many(_ context.Context, stream server.Stream) error {
	request := &payload{}
	if err := stream.Recv(request); err != nil {
		return err
	}
	for range messages {
		if err := stream.Send(request); err != nil {
			return err
		}
	}
	return nil
}

func (*Echo) Pong(_ context.Context, stream server.Stream) error {
	for {
		request := &payload{}
		if err := stream.Recv(request); err != nil {
			return nil
		}
		if err := stream.Send(request); err != nil {
			return err
		}
	}
}

// name is that of the service as Python processes of this namespace see it.
func name() string { return os.Getenv("MICRO_NAMESPACE") + ".bench" }

func serve() {
	s := server.NewServer(server.Name(name()), server.Address("127.0.0.1:0"))
	must(s.Handle(s.NewHandler(new(Echo))))
	must(s.Start())
	fmt.Println(0)
	select {}
}

func main() {
	logger.DefaultLogger = logger.NewLogger(logger.WithLevel(logger.ErrorLevel), logger.WithOutput(os.Stderr))
	if os.Args[1] == "serve" {
		serve()
		return
	}
	l := asked()
	request := &payload{Value: bytes.Repeat([]byte("x"), l.size)}
	c := client.NewClient(client.ContentType("application/protobuf"), client.PoolSize(l.callers), client.StreamTimeout(l.seconds+30*time.Second))
	switch os.Args[1] {
	case "unary":
		l.measure(each(func() error {
			return c.Call(context.Background(), c.NewRequest(name(), "Echo.Echo", request), &payload{})
		}))
	case "oneway":
		l.measure(each(func() error { return many(c, request) }))
	case "pingpong":
		l.measure(func() (one, func(), error) { return pong(c, request) })
	}
}

func opened(c client.Client, endpoint string) (client.Stream, error) {
	return c.Stream(context.Background(), c.NewRequest(name(), endpoint, &payload{}, client.StreamingRequest()))
}

func many(c client.Client, request *payload) error {
	stream, err := opened(c, "Echo.Many")
	if err != nil {
		return err
	}
	defer stream.Close()
	if err := stream.Send(request); err != nil {
		return err
	}
	for range messages {
		if err := stream.Recv(&payload{}); err != nil {
			return err
		}
	}
	return nil
}

func pong(c client.Client, request *payload) (one, func(), error) {
	stream, err := opened(c, "Echo.Pong")
	if err != nil {
		return nil, nil, err
	}
	call := func() error {
		if err := stream.Send(request); err != nil {
			return err
		}
		return stream.Recv(&payload{})
	}
	return call, func() { _ = stream.Close() }, nil
}
