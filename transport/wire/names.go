package wire

import "fmt"

// Known tells whether this version has frames of the type.
func (t FrameType) Known() bool { return t >= Request && t <= maxFrameType }

var frameNames = [...]string{
	Request: "Request", Reply: "Reply", Fragment: "Fragment", Probe: "Probe", Cancel: "Cancel", Ping: "Ping", Close: "Close",
	Grant: "Grant", Message: "Message", End: "End", Window: "Window", Challenge: "Challenge", Response: "Response",
	Fetched: "Fetched",
}

func (t FrameType) String() string {
	if t.Known() {
		return frameNames[t]
	}
	return fmt.Sprintf("FrameType(%d)", uint8(t))
}

// Known tells whether this version has packets of the kind.
func (k Kind) Known() bool { return k >= Data && k <= Reset }

var kindNames = [...]string{Data: "Data", Hello: "Hello", Accept: "Accept", Retry: "Retry", Refuse: "Refuse", Reset: "Reset"}

func (k Kind) String() string {
	if k.Known() {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

func (s Security) String() string {
	switch s {
	case Insecure:
		return "insecure"
	case TLS:
		return "TLS"
	}
	return fmt.Sprintf("Security(%d)", uint8(s))
}
