// Package routeguide is gRPC's example of all four kinds of calls: nothing in it knows what they travel over.
package routeguide

import (
	"context"
	"io"
	"math"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Server is a RouteGuide.
type Server struct {
	UnimplementedRouteGuideServer
	Features []*Feature // not to be changed while it serves

	mu    sync.Mutex
	notes map[[2]int32][]*RouteNote // by place
}

// GetFeature implements RouteGuideServer.
func (s *Server) GetFeature(_ context.Context, at *Point) (*Feature, error) {
	if f := s.at(at); f != nil {
		return f, nil
	}
	return &Feature{Location: at}, nil
}

func (s *Server) at(p *Point) *Feature {
	for _, f := range s.Features {
		if proto.Equal(f.Location, p) {
			return f
		}
	}
	return nil
}

// ListFeatures implements RouteGuideServer.
func (s *Server) ListFeatures(r *Rectangle, stream grpc.ServerStreamingServer[Feature]) error {
	between := func(v, a, b int32) bool { return min(a, b) <= v && v <= max(a, b) }
	for _, f := range s.Features {
		p := f.Location
		if !between(p.GetLatitude(), r.GetLo().GetLatitude(), r.GetHi().GetLatitude()) ||
			!between(p.GetLongitude(), r.GetLo().GetLongitude(), r.GetHi().GetLongitude()) {
			continue
		}
		if err := stream.Send(f); err != nil {
			return err
		}
	}
	return nil
}

// RecordRoute implements RouteGuideServer.
func (s *Server) RecordRoute(stream grpc.ClientStreamingServer[Point, RouteSummary]) error {
	begun := time.Now()
	sum := &RouteSummary{}
	var last *Point
	meters := 0.0
	for {
		p, err := stream.Recv()
		if err == io.EOF {
			sum.Distance, sum.ElapsedTime = int32(meters), int32(time.Since(begun).Seconds())
			return stream.SendAndClose(sum)
		}
		if err != nil {
			return err
		}
		sum.PointCount++
		if s.at(p) != nil {
			sum.FeatureCount++
		}
		if last != nil {
			meters += distance(last, p)
		}
		last = p
	}
}

// RouteChat implements RouteGuideServer.
func (s *Server) RouteChat(stream grpc.BidiStreamingServer[RouteNote, RouteNote]) error {
	for {
		note, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for _, earlier := range s.leave(note) {
			if err := stream.Send(earlier); err != nil {
				return err
			}
		}
	}
}

// leave leaves a note and returns those that were there.
func (s *Server) leave(n *RouteNote) []*RouteNote {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.notes == nil {
		s.notes = map[[2]int32][]*RouteNote{}
	}
	at := [2]int32{n.GetLocation().GetLatitude(), n.GetLocation().GetLongitude()}
	there := s.notes[at]
	s.notes[at] = append(there[:len(there):len(there)], n)
	return there
}

// distance is that of two points on a sphere of the earth's mean radius, in meters, by the haversine formula.
func distance(a, b *Point) float64 {
	const earth, unit = 6_371_000, math.Pi / 180 / 1e7
	latA, latB := float64(a.GetLatitude())*unit, float64(b.GetLatitude())*unit
	dLat, dLong := latB-latA, float64(b.GetLongitude()-a.GetLongitude())*unit
	h := math.Pow(math.Sin(dLat/2), 2) + math.Cos(latA)*math.Cos(latB)*math.Pow(math.Sin(dLong/2), 2)
	return 2 * earth * math.Asin(math.Sqrt(h))
}
