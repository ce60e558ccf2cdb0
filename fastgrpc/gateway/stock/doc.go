// Package stock tests the gateway with programs of other people as they are: gRPC's interoperability client and server, grpcurl and ghz, built
// from the module proxy. It is a module of its own, for what they need is nothing that programs of fastrpc do.
package stock
