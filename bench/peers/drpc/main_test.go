package main

import (
	"testing"

	"github.com/fastrpc/fastrpc/bench/peers/internal/peer/peertest"
)

func TestPeer(t *testing.T) { peertest.Run(t, system) }
