package main

import "context"

func serve(o *options) {
	s, done := newServer(o), stopped().Done()
	must(s.Handle(s.NewHandler(new(Say))))
	must(s.Start())
	tell("ready", map[string]string{"address": s.Options().Address, "id": s.Options().Name + "-" + s.Options().Id})
	<-done
	must(s.Stop())
	tell("stopped", true)
}

func subscribe(o *options) {
	s, done := newServer(o), stopped().Done()
	heard := func(ctx context.Context, event *Request) error {
		tell("event", map[string]any{"header": lower(metadataOf(ctx)), "body": event})
		if o.broken {
			return newError("interop.subscriber", "broken", 500)
		}
		return nil
	}
	must(s.Subscribe(newSubscriber(s, o, heard)))
	must(s.Start())
	tell("ready", map[string]string{"address": s.Options().Broker.Address()})
	<-done
	must(s.Stop())
	tell("stopped", true)
}
