package fastgrpc_test

import (
	"context"
	"io"
	"slices"
	"testing"

	"github.com/fullstorydev/grpchan/grpchantesting"
	"google.golang.org/grpc/channelz/grpc_channelz_v1"
	channelz "google.golang.org/grpc/channelz/service"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/fastrpc/fastrpc/fastgrpc"
)

// The cases that grpchan has for channels of all kinds.
func TestChannelCases(t *testing.T) {
	cc := pair(t, func(s *fastgrpc.Server) { grpchantesting.RegisterTestServiceServer(s, &grpchantesting.TestServer{}) })()
	grpchantesting.RunChannelTestCases(t, cc, true)
}

// gRPC's own services register unchanged, and answer.
func TestServices(t *testing.T) {
	state := health.NewServer()
	cc := pair(t, func(s *fastgrpc.Server) {
		(&service{}).register(s)
		grpc_health_v1.RegisterHealthServer(s, state)
		channelz.RegisterChannelzServiceToServer(s)
		reflection.Register(s)
	})()
	t.Run("reflection", func(t *testing.T) {
		r, err := grpc_reflection_v1.NewServerReflectionClient(cc).ServerReflectionInfo(bounded(t))
		must(t, err)
		must(t, r.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}}))
		list, err := r.Recv()
		must(t, err)
		var names []string
		for _, s := range list.GetListServicesResponse().GetService() {
			names = append(names, s.GetName())
		}
		want := []string{"grpc.channelz.v1.Channelz", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection", "grpc.testing.TestService"}
		if slices.Sort(names); !slices.Equal(names, want) {
			t.Errorf("the services are %q", names)
		}
		must(t, r.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: want[4]}}))
		file, err := r.Recv()
		must(t, err)
		if len(file.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
			t.Errorf("the file is %v", file)
		}
		must(t, r.CloseSend())
		if _, err := r.Recv(); err != io.EOF {
			t.Errorf("the stream ended with %v", err)
		}
	})
	t.Run("health", func(t *testing.T) {
		c := grpc_health_v1.NewHealthClient(cc)
		r, err := c.Check(bounded(t), &grpc_health_v1.HealthCheckRequest{})
		must(t, err)
		if r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("the server is %v", r.GetStatus())
		}
		ctx, cancel := context.WithCancel(bounded(t))
		defer cancel()
		w, err := c.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
		must(t, err)
		for _, want := range []grpc_health_v1.HealthCheckResponse_ServingStatus{grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING} {
			r, err := w.Recv()
			must(t, err)
			if r.GetStatus() != want {
				t.Errorf("the server is %v, not %v", r.GetStatus(), want)
			}
			state.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		}
	})
	t.Run("channelz", func(t *testing.T) {
		_, err := grpc_channelz_v1.NewChannelzClient(cc).GetTopChannels(bounded(t), &grpc_channelz_v1.GetTopChannelsRequest{})
		must(t, err)
	})
}
