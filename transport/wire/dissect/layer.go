package dissect

import (
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// LayerTypeFastRPC is gopacket's type of a Packet. Its number is one of those that gopacket leaves to applications.
var LayerTypeFastRPC = gopacket.RegisterLayerType(1719, gopacket.LayerTypeMetadata{Name: "FastRPC", Decoder: gopacket.DecodeFunc(decode)})

// RegisterPort has gopacket decode UDP datagrams from or to the port as packets of the protocol, in the whole process. gopacket keeps such
// settings unlocked: call it before anything is decoded.
func RegisterPort(port uint16) {
	layers.RegisterUDPPortLayerType(layers.UDPPort(port), LayerTypeFastRPC)
}

// decode adds a Packet to what gopacket has decoded so far.
func decode(data []byte, b gopacket.PacketBuilder) error {
	length := len(data)
	if whole, ok := b.(gopacket.Packet); ok {
		if udp, ok := whole.TransportLayer().(*layers.UDP); ok {
			length = max(length, int(udp.Length)-8) // the capture may hold less
		}
	}
	p := new(Packet)
	if err := p.Decode(data, length); err != nil {
		return err
	}
	b.AddLayer(p)
	b.SetApplicationLayer(p)
	return nil
}

// LayerType implements gopacket.Layer.
func (p *Packet) LayerType() gopacket.LayerType { return LayerTypeFastRPC }

// Payload implements gopacket.ApplicationLayer. It is nil: messages are in the frames.
func (p *Packet) Payload() []byte { return nil }

// CanDecode implements gopacket.DecodingLayer.
func (p *Packet) CanDecode() gopacket.LayerClass { return LayerTypeFastRPC }

// NextLayerType implements gopacket.DecodingLayer: nothing follows.
func (p *Packet) NextLayerType() gopacket.LayerType { return gopacket.LayerTypeZero }

// DecodeFromBytes implements gopacket.DecodingLayer. It takes data for the whole packet; for captures that may be cut, call Decode.
func (p *Packet) DecodeFromBytes(data []byte, _ gopacket.DecodeFeedback) error {
	return p.Decode(data, len(data))
}
