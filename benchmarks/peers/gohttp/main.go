// A bare echo over Go's net/http, client and server.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

func serve() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	must(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		_, _ = w.Write(body)
	})))
}

func main() {
	if os.Args[1] == "serve" {
		serve()
		return
	}
	l := asked()
	payload := bytes.Repeat([]byte("x"), l.size)
	url := fmt.Sprintf("http://127.0.0.1:%d/echo", l.port)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: l.callers}}
	l.measure(each(func() error {
		reply, err := client.Post(url, "application/octet-stream", bytes.NewReader(payload))
		if err != nil {
			return err
		}
		defer reply.Body.Close()
		_, err = io.ReadAll(reply.Body)
		return err
	}))
}
