package fastrpc

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// methodTable is what a server has to offer. It is replaced as a whole.
type methodTable struct {
	byName   map[string]uint32
	list     []*method // number-1 is the index
	resolved int       // of these, added for a Resolver
}

// method has a handler for calls, or for streams, or for both.
type method struct {
	name    string
	handler Handler
	inline  bool
	stream  StreamHandler
}

// kind says how the method is to be called.
func (m *method) kind() string {
	if m.stream != nil {
		return "a stream: open it with Stream"
	}
	return "no stream: call it"
}

// Resolver finds handlers for a method that has none, when a client first names it: one for calls, one for streams, or both, which then are the
// method's. The error says why there is none; an *Error travels with its code, any other as Unimplemented. It is called in the polling
// loop, by several at once where there are several queues, and must not block.
type Resolver func(name string) (Handler, StreamHandler, error)

// Resolve sets what finds handlers for methods that have none: for proxies, which learn of methods as they are called. It is limited to
// 4,096 methods, since clients make up the names; more are refused with ResourceExhausted.
func (s *Server) Resolve(f Resolver) { s.resolver.Store(&f) }

const maxResolved = 4096

// resolve asks the resolver for a method, and returns its number.
func (s *Server) resolve(name string) (uint32, error) {
	f := s.resolver.Load()
	switch {
	case f == nil:
		return 0, Errorf(Unimplemented, "the server has no method %q", name[:min(len(name), maxMethodName)])
	case name == "" || len(name) > maxMethodName:
		return 0, Errorf(Unimplemented, "a method's name has 1 to %d bytes", maxMethodName)
	case s.methods.Load().resolved >= maxResolved:
		return 0, Errorf(ResourceExhausted, "the server has resolved %d methods, and resolves no more", maxResolved)
	}
	call, stream, err := (*f)(name)
	if e := (*Error)(nil); err != nil && !errors.As(err, &e) {
		return 0, Errorf(Unimplemented, "%v", err)
	}
	if err != nil {
		return 0, err
	}
	m := &method{name: name}
	if call != nil {
		m.handler = s.cfg.aroundHandler(call)
	}
	if stream != nil {
		m.stream = s.cfg.aroundStream(stream)
	}
	number, err := s.addMethod(m, true)
	if err != nil { // another queue's client was quicker
		number = s.methods.Load().byName[name]
	}
	return number, nil
}

// addMethod adds a method, or another kind of handler to one.
func (s *Server) addMethod(m *method, resolved bool) (number uint32, err error) {
	for {
		old := s.methods.Load()
		t := &methodTable{byName: maps.Clone(old.byName), list: slices.Clone(old.list), resolved: old.resolved}
		if resolved {
			t.resolved++
		}
		if n, known := t.byName[m.name]; !known {
			t.list = append(t.list, m)
			number = uint32(len(t.list))
			t.byName[m.name] = number
		} else {
			both := *t.list[n-1]
			if both.handler != nil && m.handler != nil || both.stream != nil && m.stream != nil {
				return n, fmt.Errorf("method %q has a handler already", m.name)
			}
			if m.handler != nil {
				both.handler, both.inline = m.handler, m.inline
			} else {
				both.stream = m.stream
			}
			t.list[n-1] = &both
			number = n
		}
		if s.methods.CompareAndSwap(old, t) {
			return number, nil
		}
	}
}
