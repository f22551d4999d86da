package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// Say is the handler that every peer serves, in every release and in Python.
type Say struct{}

func (*Say) Hello(_ context.Context, request *Request, reply *Reply) error {
	reply.Msg, reply.SeqNo = "Hello "+request.Name, request.CountTo
	return nil
}

func (*Say) Echo(_ context.Context, request *Request, reply *Reply) error {
	reply.Msg, reply.SeqNo = request.Name, int64(len(request.Tags))
	return nil
}

func (*Say) Nothing(context.Context, *Request, *Reply) error { return nil }

// Fail fails with an error of the code that was asked for, or for none with a plain one.
func (*Say) Fail(_ context.Context, request *Request, _ *Reply) error { return failure(request) }

// Sleep tells how many milliseconds its caller had left. An expired deadline is told on standard output, and answered
// long after its caller has given up.
func (*Say) Sleep(ctx context.Context, request *Request, reply *Reply) error {
	if deadline, ok := ctx.Deadline(); ok {
		reply.SeqNo = time.Until(deadline).Milliseconds()
	}
	select {
	case <-time.After(time.Duration(request.SleepMs) * time.Millisecond):
		reply.Msg = "slept"
		return nil
	case <-ctx.Done():
		tell("expired", ctx.Err().Error())
		time.Sleep(time.Second)
		return ctx.Err()
	}
}

// Meta gives back the metadata that came with the call, as JSON, its names in lower case.
func (*Say) Meta(ctx context.Context, _ *Request, reply *Reply) error {
	text, err := json.Marshal(lower(metadataOf(ctx)))
	reply.Msg = string(text)
	return err
}

func (*Say) Raw(_ context.Context, request, reply *frame) error {
	*reply = *request
	return nil
}

// Count sends CountTo replies, SleepMs apart, and fails after them where the request has a code.
func (*Say) Count(_ context.Context, stream serverStream) error {
	request := &Request{}
	if err := stream.Recv(request); err != nil {
		return err
	}
	for n := int64(1); n <= request.CountTo; n++ {
		if err := stream.Send(&Reply{Msg: request.Name, SeqNo: n}); err != nil {
			tell("count", err.Error())
			return err
		}
		time.Sleep(time.Duration(request.SleepMs) * time.Millisecond)
	}
	if request.ErrorCode != 0 {
		return failure(request)
	}
	return nil
}

// Chat echoes message by message until its caller leaves, or asks for an error; how it ended is told.
func (*Say) Chat(_ context.Context, stream serverStream) error {
	for {
		request := &Request{}
		if err := stream.Recv(request); err != nil {
			tell("chat", err.Error())
			return nil
		}
		if request.ErrorCode != 0 {
			return failure(request)
		}
		if err := stream.Send(&Reply{Msg: request.Name, SeqNo: request.CountTo}); err != nil {
			tell("chat", err.Error())
			return err
		}
	}
}

func failure(request *Request) error {
	if request.ErrorCode == 0 {
		return errors.New(request.Name)
	}
	return newError("interop.say", request.Name, int32(request.ErrorCode))
}

func lower(metadata map[string]string) map[string]string {
	found := map[string]string{}
	for name, value := range metadata {
		found[strings.ToLower(name)] = value
	}
	return found
}
