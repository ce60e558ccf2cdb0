// Package peers is a folder of programs, one for each system of other people, so that one that does not build takes none along. What their
// generators make of echo.proto stands beside each.
package peers

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.66.0 generate
//go:generate go tool kitex -type protobuf -gen-path kitex -module github.com/fastrpc/fastrpc/bench/peers echo.proto
