package main

// frame is what the release sends and takes as it is; its gRPC has another one than its packages.
type frame = []byte

func framed(data []byte) *frame    { return &data }
func unframed(frame *frame) []byte { return *frame }
