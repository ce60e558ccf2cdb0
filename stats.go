package fastrpc

import "github.com/fastrpc/fastrpc/internal/engine"

// QueueStats are the counters of one queue: of everything in the process that uses it, servers and clients.
type QueueStats struct {
	Queue    string // "xdp eth0 queue 3 (native, zero-copy)"
	Sessions int    // open now
	engine.Stats
}

// Stats returns the server's counters, a row for each queue.
func (s *Server) Stats() []QueueStats {
	s.mu.Lock()
	ports := s.ports
	s.mu.Unlock()
	var rows []QueueStats
	for _, p := range ports {
		rows = append(rows, queueStats(p.engines)...)
	}
	return rows
}

// Stats returns the client's counters, a row for each queue.
func (c *Client) Stats() []QueueStats { return queueStats(c.engines) }

func queueStats(engines []*engine.Engine) []QueueStats {
	rows := make([]QueueStats, 0, len(engines))
	for _, e := range engines {
		open, _ := e.Sessions()
		rows = append(rows, QueueStats{Queue: e.Link().Caps().Name, Sessions: open, Stats: e.Stats()})
	}
	return rows
}
