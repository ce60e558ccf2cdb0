package session

import (
	"time"

	"github.com/fastrpc/fastrpc/transport"
)

type PhiConfig struct {
	Threshold float64
}

type detector struct{}

func newDetector(cfg PhiConfig, interval time.Duration) *detector { return &detector{} }

func (d *detector) beat(now transport.Time)        {}
func (d *detector) phi(now transport.Time) float64 { return 0 }
func (d *detector) judged() bool                   { return false }
func (d *detector) forgive(by time.Duration)       {}
func (d *detector) stop()                          {}
func (d *detector) start(now transport.Time)       {}
func (d *detector) suspectAt() transport.Time      { return 0 }
