// Package echopb is the service of grpc, connect and drpc in the benchmarks: what their generators make of echo.proto.
package echopb

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.66.0 generate
