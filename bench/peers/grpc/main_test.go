package main

import (
	"testing"

	"github.com/fastrpc/fastrpc/bench/peers/internal/peer/peertest"
)

func TestPeer(t *testing.T) {
	for _, s := range systems() {
		t.Run(s.Name(), func(t *testing.T) { peertest.Run(t, s) })
	}
}
