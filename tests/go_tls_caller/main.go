// Calls and streams to a service of ours by TLS: by Go Micro v4.11.0 as it comes, and by net/http alone.
//
//	go_tls_caller ADDRESS CA
//
// Prints a line for each: what was asked of, and what it said.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"

	"go-micro.dev/v4/client"
	"go-micro.dev/v4/logger"
	"go-micro.dev/v4/transport"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func trusting(file string) *tls.Config {
	pem, err := os.ReadFile(file)
	must(err)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		must(fmt.Errorf("%s holds no certificate", file))
	}
	return &tls.Config{RootCAs: roots, ServerName: "greeter"}
}

func viaMicro(address, ca string) {
	c := client.NewClient(
		client.ContentType("application/json"),
		client.Transport(transport.NewHTTPTransport(transport.Secure(true), transport.TLSConfig(trusting(ca)))),
	)
	for range 3 { // on one pooled connection
		var said string
		must(c.Call(context.Background(), c.NewRequest("greeter", "Say.Hello", "Ada"), &said, client.WithAddress(address)))
		fmt.Println("call:", said)
	}
	request := c.NewRequest("greeter", "Say.Chat", "", client.StreamingRequest())
	stream, err := c.Stream(context.Background(), request, client.WithAddress(address))
	must(err)
	for _, word := range []string{"a", "b"} {
		must(stream.Send(word))
		var said string
		must(stream.Recv(&said))
		fmt.Println("stream:", said)
	}
	must(stream.Close())
}

func viaHTTP(address, ca string, http2 bool) {
	c := http.Client{Transport: &http.Transport{TLSClientConfig: trusting(ca), ForceAttemptHTTP2: http2}}
	reply, err := c.Post("https://"+address+"/greeter/Say.Hello", "application/json", bytes.NewBufferString(`"Ada"`))
	must(err)
	body, err := io.ReadAll(reply.Body)
	must(err)
	fmt.Println(reply.Proto+":", reply.StatusCode, string(body))
}

func main() {
	logger.DefaultLogger = logger.NewLogger(logger.WithLevel(logger.ErrorLevel), logger.WithOutput(os.Stderr))
	address, ca := os.Args[1], os.Args[2]
	viaMicro(address, ca)
	viaHTTP(address, ca, false)
	viaHTTP(address, ca, true)
}
