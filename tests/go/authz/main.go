// A service of Envoy's external authorization, written with the modules that such services are usually written with. It
// answers what the request that it is asked about wants to be answered.
//
// It listens on a port of the loopback address, prints the address as its first line, and then a line for each question:
// the CheckRequest as JSON. A field x-answer of that request is the CheckResponse as JSON; without it the request is
// allowed. x-wait is a time to wait before, as Go writes durations, and x-code a status of gRPC that the call fails with.
// With -age connections are ended when they are as old as that, as services do that want to be balanced.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"strconv"
	"time"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	rpc "google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
)

func main() {
	log.SetFlags(0)
	age := flag.Duration("age", 0, "of connections at most; 0: no limit")
	flag.Parse()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: *age}))
	auth.RegisterAuthorizationServer(server, &service{})
	fmt.Println(listener.Addr())
	log.Fatal(server.Serve(listener))
}

type service struct {
	auth.UnimplementedAuthorizationServer
}

func (*service) Check(ctx context.Context, question *auth.CheckRequest) (*auth.CheckResponse, error) {
	fmt.Println(protojson.MarshalOptions{}.Format(question))
	headers := question.GetAttributes().GetRequest().GetHttp().GetHeaders()
	if wait, err := time.ParseDuration(headers["x-wait"]); err == nil {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, rpc.FromContextError(ctx.Err()).Err()
		}
	}
	if code, err := strconv.ParseUint(headers["x-code"], 10, 32); err == nil {
		return nil, rpc.Error(codes.Code(code), "as it was asked for")
	}
	answer := &auth.CheckResponse{Status: &status.Status{Code: int32(codes.OK)}}
	if text := headers["x-answer"]; text != "" {
		answer = &auth.CheckResponse{}
		if err := protojson.Unmarshal([]byte(text), answer); err != nil {
			return nil, rpc.Error(codes.InvalidArgument, err.Error())
		}
	}
	return answer, nil
}
