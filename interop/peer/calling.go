package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// body is the request that was asked for, and a fresh reply of its kind.
func body(o *options) (request, reply any) {
	switch {
	case o.raw:
		return framed([]byte(o.request)), framed(nil)
	case o.open:
		var object map[string]any
		must(json.Unmarshal([]byte(o.request), &object))
		return object, &map[string]any{}
	}
	return message(o), &Reply{}
}

func message(o *options) *Request {
	request := &Request{}
	must(json.Unmarshal([]byte(o.request), request))
	if o.size > 0 {
		request.Name = strings.Repeat("x", o.size)
	}
	return request
}

func call(o *options) {
	c, ctx := newClient(o), stopped()
	for n := 0; o.count == 0 || n < o.count; n++ {
		request, reply := body(o)
		began := time.Now()
		err := c.Call(withMetadata(ctx, o.metadata), c.NewRequest(o.service, o.endpoint, request), reply)
		if ctx.Err() != nil {
			return
		}
		told := map[string]any{"ms": time.Since(began).Milliseconds()}
		switch reply := reply.(type) {
		case *frame:
			told["data"] = unframed(reply)
		default:
			told["value"] = reply
		}
		if err != nil {
			told = map[string]any{"ms": told["ms"], "error": described(err)}
		}
		tell("reply", told)
		if !paced(ctx, o.pace) {
			return
		}
	}
}

// described is an error's text and, where it is one of Go Micro's, its fields.
func described(err error) map[string]any {
	e := parseError(err.Error())
	return map[string]any{"text": err.Error(), "id": e.Id, "code": e.Code, "detail": e.Detail, "status": e.Status}
}

func ended(err error) {
	if err == nil || err == io.EOF {
		tell("end", map[string]any{"eof": true})
		return
	}
	tell("end", map[string]any{"error": described(err)})
}

// stream asks Say.Count for its replies.
func stream(o *options) {
	c := newClient(o)
	s, err := c.Stream(withMetadata(context.Background(), o.metadata), streaming(c, o))
	if err == nil {
		err = s.Send(message(o))
	}
	if err != nil {
		ended(err)
		return
	}
	for n := 1; ; n++ {
		reply := &Reply{}
		if err := s.Recv(reply); err != nil {
			ended(err)
			break
		}
		tell("message", reply)
		if n == o.leave {
			tell("left", n)
			break
		}
	}
	must(s.Close())
}

// chat sends a message and waits for its reply, again and again; the last one asks for the error, where one is wanted.
func chat(o *options) {
	c := newClient(o)
	s, err := c.Stream(withMetadata(context.Background(), o.metadata), streaming(c, o))
	if err != nil {
		ended(err)
		return
	}
	for n := 1; n <= o.count; n++ {
		request, reply := message(o), &Reply{}
		request.CountTo = int64(n)
		if n < o.count {
			request.ErrorCode = 0
		}
		if err = s.Send(request); err == nil {
			err = s.Recv(reply)
		}
		if err != nil {
			ended(err)
			break
		}
		tell("message", reply)
		time.Sleep(o.pace)
	}
	must(s.Close())
	tell("closed", true)
}

func publish(o *options) {
	c, ctx := newClient(o), stopped()
	for n := 1; o.count == 0 || n <= o.count; n++ {
		event := message(o)
		event.CountTo = int64(n)
		if err := c.Publish(withMetadata(ctx, o.metadata), c.NewMessage(o.topic, event)); err != nil {
			tell("published", map[string]any{"error": described(err)})
		} else {
			tell("published", map[string]any{"n": n})
		}
		if !paced(ctx, o.pace) {
			return
		}
	}
	<-ctx.Done() // what it accepted is on its way still
}

func list(o *options) {
	r := newRegistry(o)
	if o.service == "" {
		services, err := r.ListServices()
		must(err)
		names := []string{}
		for _, service := range services {
			names = append(names, service.Name)
		}
		tell("services", names)
		return
	}
	services, err := r.GetService(o.service)
	if err != nil {
		tell("missing", err.Error())
		return
	}
	tell("found", services)
}

func watch(o *options) {
	done := stopped().Done()
	w, err := newRegistry(o).Watch(watching(o)...)
	must(err)
	tell("ready", map[string]string{})
	go func() {
		for {
			result, err := w.Next()
			if err != nil {
				tell("end", map[string]any{"error": map[string]any{"text": err.Error()}})
				return
			}
			tell("change", map[string]any{"action": result.Action, "service": result.Service})
		}
	}()
	<-done
}

// bench measures as the benchmarks do: it says `warm`, waits for a line, and ends with what it measured.
func bench(o *options) {
	c := newClient(o)
	l := load{callers: o.callers, size: o.size, seconds: o.timeout}
	request := message(o)
	opened := func() (clientStream, error) {
		return c.Stream(context.Background(), streaming(c, o))
	}
	switch o.endpoint {
	case "Say.Hello", "Say.Echo":
		l.measure(each(func() error {
			return c.Call(context.Background(), c.NewRequest(o.service, o.endpoint, request), &Reply{})
		}))
	case "Say.Count":
		request.CountTo = messages
		l.measure(each(func() error {
			s, err := opened()
			if err != nil {
				return err
			}
			defer s.Close()
			if err := s.Send(request); err != nil {
				return err
			}
			for range messages {
				if err := s.Recv(&Reply{}); err != nil {
					return err
				}
			}
			return nil
		}))
	case "Say.Chat":
		l.measure(func() (one, func(), error) {
			s, err := opened()
			if err != nil {
				return nil, nil, err
			}
			call := func() error {
				if err := s.Send(request); err != nil {
					return err
				}
				return s.Recv(&Reply{})
			}
			return call, func() { _ = s.Close() }, nil
		})
	default:
		must(fmt.Errorf("%s cannot be measured", o.endpoint))
	}
}
