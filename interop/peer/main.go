// A peer of one release of Go Micro: `peer serve|call|stream|chat|publish|subscribe|list|watch|bench [flags]`.
//
// What it has to say are lines of JSON on standard output, each an object with one word that tells what it is. The
// releases differ in release.go alone.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

// asked is the command line; every command takes what it needs of it.
type options struct {
	registry, registryAddress    string
	name, id, version, address   string
	brokerAddress, protocol      string
	service, endpoint, codec     string
	topic, queue, request        string
	metadata                     pairs
	ttl, interval, timeout, pace time.Duration
	count, size, callers, leave  int
	retries                      int
	open, raw, broken            bool
}

type pairs map[string]string

func (p pairs) String() string { return fmt.Sprint(map[string]string(p)) }

func (p pairs) Set(text string) error {
	name, value, _ := strings.Cut(text, "=")
	p[name] = value
	return nil
}

func parsed(arguments []string) *options {
	o := &options{metadata: pairs{}}
	f := flag.NewFlagSet("peer", flag.ExitOnError)
	f.StringVar(&o.registry, "registry", "memory", "memory, mdns, or consul where the release has it")
	f.StringVar(&o.registryAddress, "registry-address", "", "of the registry")
	f.StringVar(&o.name, "name", "greeter", "of the service that is served")
	f.StringVar(&o.id, "id", "", "of its node, the release's own for none")
	f.StringVar(&o.version, "version", "latest", "of the service that is served")
	f.StringVar(&o.address, "address", "", "to serve at; for a client the one node, found in a registry of its own")
	f.StringVar(&o.brokerAddress, "broker-address", "127.0.0.1:0", "where the broker listens")
	f.StringVar(&o.protocol, "protocol", "mucp", "what the node of a client's --address says; empty for nothing")
	f.StringVar(&o.service, "service", "greeter", "that is called, or looked at")
	f.StringVar(&o.endpoint, "endpoint", "Say.Hello", "that is called")
	f.StringVar(&o.codec, "codec", "application/json", "content type")
	f.StringVar(&o.topic, "topic", "events", "of events")
	f.StringVar(&o.queue, "queue", "", "of a subscriber")
	f.StringVar(&o.request, "request", "{}", "the Request, as JSON, or raw bytes; `-` is standard input")
	f.Var(o.metadata, "metadata", "name=value, sent with calls or registered with a node; may be repeated")
	f.DurationVar(&o.ttl, "ttl", 0, "for which a node is registered")
	f.DurationVar(&o.interval, "interval", 0, "after which it is registered again")
	f.DurationVar(&o.timeout, "timeout", 5*time.Second, "of a call")
	f.DurationVar(&o.pace, "pace", 0, "between calls, messages or events")
	f.IntVar(&o.count, "count", 1, "of calls, messages or events; 0 until it is stopped")
	f.IntVar(&o.size, "size", 0, "fills the request's name with so many bytes")
	f.IntVar(&o.callers, "callers", 1, "at once, of bench")
	f.IntVar(&o.leave, "leave", 0, "closes a stream after so many replies")
	f.IntVar(&o.retries, "retries", 0, "of a call")
	f.BoolVar(&o.open, "open", false, "request and reply are any JSON objects")
	f.BoolVar(&o.raw, "raw", false, "request and reply are bytes")
	f.BoolVar(&o.broken, "broken", false, "the subscriber fails")
	must(f.Parse(arguments))
	if o.request == "-" {
		text, err := io.ReadAll(os.Stdin)
		must(err)
		o.request = string(text)
	}
	return o
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "peer serve|call|stream|chat|publish|subscribe|list|watch|bench [flags]")
		os.Exit(2)
	}
	commands[os.Args[1]](parsed(os.Args[2:]))
}

var commands map[string]func(*options)

func init() {
	commands = map[string]func(*options){
		"serve": serve, "subscribe": subscribe, "call": call, "stream": stream, "chat": chat, "publish": publish,
		"list": list, "watch": watch, "bench": bench,
	}
}

var telling sync.Mutex

// tell says one thing on standard output.
func tell(what string, value any) {
	telling.Lock()
	defer telling.Unlock()
	must(json.NewEncoder(os.Stdout).Encode(map[string]any{what: value}))
}

// stopped ends with the first SIGTERM or SIGINT.
func stopped() context.Context {
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	return ctx
}

// paced waits for the pace; false when it was stopped meanwhile.
func paced(ctx context.Context, pace time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pace):
		return true
	}
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
