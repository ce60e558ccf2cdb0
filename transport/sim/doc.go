// Package sim offers Links without a kernel: a seeded lossy [Network] in virtual time, for tests that must replay bit by bit, and a [Pipe]
// in real time, for two goroutines of one process.
//
// Neither uses global randomness, and the Network reads no clock: its time stands still until Advance or a Link's Wait moves it, so that an
// hour of retransmissions passes in milliseconds and the same seed gives the same packets at the same instants. A fault that is switched
// off draws no random number: switching one on changes nothing about a history until its first packet.
//
// # The way of a packet
//
// A direction leads from one address to another; [Faults] says what it does to packets, [Network.SetFaults] changes that at any time. A
// packet that Send took passes, in this order:
//
//   - the partition ([Network.Partition]): while the direction is cut nothing is taken, and nothing that is under way arrives;
//   - the path MTU (Faults.MTU): a larger packet disappears, in silence or with a report to its sender;
//   - the direction's bottleneck (Faults.Bandwidth): a FIFO queue that drops at its tail and marks for ECN, then the time on the wire;
//   - loss, independent (Faults.Loss) and in bursts (Faults.Burst);
//   - delay: Delay, Jitter and Spike, which keep the order, or Reorder, which does not;
//   - corruption and duplication;
//   - the receiver's bottleneck ([Network.SetIngress]), which all directions into one address share: where an incast queues up;
//   - the receiver: a Link with room, a Link without, or nobody.
//
// A lost packet therefore takes its share of the sender's wire and none of the receiver's; a duplicate takes its share of the receiver's only.
//
// An address outlives the Link that is open there. Link.Close is a crash: packets find nobody until a new Link comes up on the address, which
// then also gets what is still under way. [Network.Rebind] gives a Link another address, as a NAT that forgot its mapping does. Pauses and
// clock jumps happen to hosts, not to a network: a test makes them by not serving a Link for a while, or with the clock that it gives to
// the host.
//
// # Books
//
// Each packet ends in one fate, and [Counters] adds up exactly at any moment. [Network.Trace] calls a function at every turn of a packet's way.
package sim
