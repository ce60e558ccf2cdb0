package afxdp
import ("testing";"sync/atomic";"golang.org/x/sys/unix";"github.com/fastrpc/fastrpc/ringbuf")
func BenchmarkZRecvEmpty(b *testing.B){ s:=&Socket{}; s.unplugRings(); var d [64]unix.XDPDesc; for b.Loop(){ s.Receive(d[:]) } }
func ringsFor() (s *Socket, r, t ringbuf.Ring[unix.XDPDesc]) {
 s=&Socket{}; s.unplugRings()
 mk:=func()ringbuf.Ring[unix.XDPDesc]{return ringbuf.Ring[unix.XDPDesc]{Producer:new(atomic.Uint32),Consumer:new(atomic.Uint32),Entries:make([]unix.XDPDesc,128)}}
 r=mk(); s.rx=ringbuf.NewConsumer(r)
 t=mk(); s.tx=ringbuf.NewProducer(t); return }
func BenchmarkZRecv1(b *testing.B){
 s,r,_:=ringsFor()
 var d [64]unix.XDPDesc
 var p uint32
 for b.Loop(){ p++; r.Producer.Store(p); s.Receive(d[:]) } }
func BenchmarkZRecv64(b *testing.B){
 s,r,_:=ringsFor()
 var d [64]unix.XDPDesc
 var p uint32
 for b.Loop(){ p+=64; r.Producer.Store(p); s.Receive(d[:]) } }
func BenchmarkZSend1(b *testing.B){
 s,_,r:=ringsFor()
 var d [64]unix.XDPDesc
 var p uint32
 for b.Loop(){ p++; s.Transmit(d[:1]); r.Consumer.Store(p) } }
func BenchmarkZStore(b *testing.B){ _,_,r:=ringsFor(); var p uint32; for b.Loop(){p++; r.Consumer.Store(p)}}
