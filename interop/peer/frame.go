package main

// frame is what the release sends and takes as it is.
type frame = bytesFrame

func framed(data []byte) *frame    { return &frame{Data: data} }
func unframed(frame *frame) []byte { return frame.Data }
