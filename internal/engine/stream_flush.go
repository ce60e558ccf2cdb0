package engine

// Flush waits until what was sent has left the writer's queue, or nobody wants it any more.
func (s *Stream) Flush() { s.await(&s.writer, s.flushed) }
