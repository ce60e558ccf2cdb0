package fastgrpc_test

import (
	"context"
	"fmt"
	"io"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/fastrpc/fastrpc/fastgrpc"
	"github.com/fastrpc/fastrpc/fastgrpc/examples/helloworld"
	"github.com/fastrpc/fastrpc/fastgrpc/examples/routeguide"
)

// gRPC's examples, with nothing but the line changed that makes the connection, each end a process of its own.
func TestExamples(t *testing.T) {
	l := newLab(t)
	for _, scheme := range schemes {
		t.Run(scheme, func(t *testing.T) {
			runClient(t, l, "example client", startServer(t, l, scheme, "example server"))
		})
	}
}

// features along a route: the second is outside of the rectangle that the client asks for.
var features = []*routeguide.Feature{
	{Name: "ferry", Location: &routeguide.Point{Latitude: 41_0000000, Longitude: -74_0000000}},
	{Name: "lighthouse", Location: &routeguide.Point{Latitude: 43_0000000, Longitude: -74_0000000}},
	{Name: "mill", Location: &routeguide.Point{Latitude: 41_5000000, Longitude: -74_5000000}},
}

func playExampleServer(args []string) error {
	return serveProcess(args[0], func(s *fastgrpc.Server) {
		helloworld.RegisterGreeterServer(s, helloworld.Server{})
		routeguide.RegisterRouteGuideServer(s, &routeguide.Server{Features: features})
	})
}

func playExampleClient(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cc, err := fastgrpc.Dial(ctx, args[0], insecure)
	if err != nil {
		return err
	}
	defer cc.Close()
	r, err := helloworld.NewGreeterClient(cc).SayHello(ctx, &helloworld.HelloRequest{Name: "gopher"})
	if err != nil {
		return err
	}
	if r.GetMessage() != "Hello gopher" {
		return fmt.Errorf("the greeting is %q", r.GetMessage())
	}
	return travel(ctx, routeguide.NewRouteGuideClient(cc))
}

// travel makes a call of each kind.
func travel(ctx context.Context, c routeguide.RouteGuideClient) error {
	if f, err := c.GetFeature(ctx, features[1].Location); err != nil || !proto.Equal(f, features[1]) {
		return fmt.Errorf("at the lighthouse: %v, %w", f, err)
	}
	if f, err := c.GetFeature(ctx, &routeguide.Point{}); err != nil || f.GetName() != "" {
		return fmt.Errorf("at sea: %v, %w", f, err)
	}
	list, err := c.ListFeatures(ctx, &routeguide.Rectangle{Lo: &routeguide.Point{Latitude: 42_0000000, Longitude: -75_0000000}, Hi: &routeguide.Point{Latitude: 40_0000000, Longitude: -73_0000000}})
	if err != nil {
		return err
	}
	var names []string
	for {
		f, err := list.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		names = append(names, f.GetName())
	}
	if fmt.Sprint(names) != "[ferry mill]" {
		return fmt.Errorf("in the rectangle: %q", names)
	}
	return record(ctx, c)
}

// record goes from the ferry to the lighthouse by a point with nothing: two degrees of latitude.
func record(ctx context.Context, c routeguide.RouteGuideClient) error {
	route, err := c.RecordRoute(ctx)
	if err != nil {
		return err
	}
	for _, p := range []*routeguide.Point{features[0].Location, {Latitude: 42_0000000, Longitude: -74_0000000}, features[1].Location} {
		if err := route.Send(p); err != nil {
			return err
		}
	}
	sum, err := route.CloseAndRecv()
	if err != nil {
		return err
	}
	if sum.GetPointCount() != 3 || sum.GetFeatureCount() != 2 || sum.GetDistance() < 222_000 || sum.GetDistance() > 223_000 {
		return fmt.Errorf("the route: %v", sum)
	}
	return chat(ctx, c)
}

// chat leaves notes, and finds those that it left before at the same place.
func chat(ctx context.Context, c routeguide.RouteGuideClient) error {
	s, err := c.RouteChat(ctx)
	if err != nil {
		return err
	}
	leave := func(s grpc.BidiStreamingClient[routeguide.RouteNote, routeguide.RouteNote], place int32, text string, want ...string) error {
		if err := s.Send(&routeguide.RouteNote{Location: &routeguide.Point{Latitude: place}, Message: text}); err != nil {
			return err
		}
		for _, w := range want {
			if n, err := s.Recv(); err != nil || n.GetMessage() != w {
				return fmt.Errorf("after %q: %v, %w, not %q", text, n, err, w)
			}
		}
		return nil
	}
	for _, step := range []func() error{
		func() error { return leave(s, 1, "a") },
		func() error { return leave(s, 2, "b") },
		func() error { return leave(s, 1, "c", "a") },
		func() error { return leave(s, 1, "d", "a", "c") },
		func() error { return leave(s, 2, "e", "b") },
		s.CloseSend,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if n, err := s.Recv(); err != io.EOF {
		return fmt.Errorf("after the last: %v, %w", n, err)
	}
	return nil
}
