// The load of every peer written in Go, as closedloop.py has it for those in Python; copied beside each main.go.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const messages = 1000

type load struct {
	port, callers, size int
	seconds             time.Duration
}

// one makes a call; caller makes what one caller needs, its call and what ends it.
type one func() error
type caller func() (one, func(), error)

func each(call one) caller {
	return func() (one, func(), error) { return call, func() {}, nil }
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	must(err)
	return n
}

func asked() load {
	seconds, err := strconv.ParseFloat(os.Args[4], 64)
	must(err)
	return load{number(os.Args[2]), number(os.Args[3]), number(os.Args[5]), time.Duration(seconds * 1e9)}
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

func (l load) run(open caller, lasting time.Duration) []float64 {
	var all []float64
	var lock sync.Mutex
	var group sync.WaitGroup
	until := time.Now().Add(lasting)
	for range l.callers {
		group.Add(1)
		go func() {
			defer group.Done()
			call, end, err := open()
			must(err)
			var took []float64
			for now := time.Now(); now.Before(until); {
				must(call())
				done := time.Now()
				took = append(took, done.Sub(now).Seconds())
				now = done
			}
			end()
			lock.Lock()
			all = append(all, took...)
			lock.Unlock()
		}()
	}
	group.Wait()
	return all
}

func (l load) measure(open caller) {
	l.run(open, min(500*time.Millisecond, l.seconds))
	fmt.Println("warm")
	_, err := bufio.NewReader(os.Stdin).ReadString('\n')
	must(err)
	before, started := cpuSeconds(), time.Now()
	took := l.run(open, l.seconds)
	elapsed, cpu := time.Since(started).Seconds(), cpuSeconds()-before
	slices.Sort(took)
	calls := len(took)
	must(json.NewEncoder(os.Stdout).Encode(map[string]any{
		"calls":      calls,
		"per_second": float64(calls) / elapsed,
		"client_cpu": cpu,
		"p50":        took[calls/2],
		"p99":        took[calls*99/100],
	}))
}
