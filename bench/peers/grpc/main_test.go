package main

import (
	"testing"

	"github.com/fastrpc/fastrpc/bench/peers/internal/peer/peertest"
)

// The systems on one stream have no calls beside each other; what they do stands in bench, with tests.
func TestPeer(t *testing.T) { peertest.Run(t, systems()[0]) }
