package main

import "fmt"

// Request and Reply are read by the reflection of every protobuf library that the releases bring, as they are by
// encoding/json: the same messages in every codec.
type Request struct {
	Name      string   `protobuf:"bytes,1,opt,name=name,proto3" json:"name,omitempty"`
	CountTo   int64    `protobuf:"varint,2,opt,name=count_to,json=countTo,proto3" json:"count_to,omitempty"`
	ErrorCode int64    `protobuf:"varint,3,opt,name=error_code,json=errorCode,proto3" json:"error_code,omitempty"`
	SleepMs   int64    `protobuf:"varint,4,opt,name=sleep_ms,json=sleepMs,proto3" json:"sleep_ms,omitempty"`
	Tags      []string `protobuf:"bytes,5,rep,name=tags,proto3" json:"tags,omitempty"`
}

func (m *Request) Reset()         { *m = Request{} }
func (m *Request) String() string { return fmt.Sprintf("%+v", *m) }
func (*Request) ProtoMessage()    {}

type Reply struct {
	Msg   string `protobuf:"bytes,1,opt,name=msg,proto3" json:"msg,omitempty"`
	SeqNo int64  `protobuf:"varint,2,opt,name=seq_no,json=seqNo,proto3" json:"seq_no,omitempty"`
}

func (m *Reply) Reset()         { *m = Reply{} }
func (m *Reply) String() string { return fmt.Sprintf("%+v", *m) }
func (*Reply) ProtoMessage()    {}
