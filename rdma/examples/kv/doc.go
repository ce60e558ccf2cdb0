// Package kv is a worked example of one-sided reads: a table of keys and values that lies in a region of memory, written by the server's
// processor and read by the clients' cards. A look-up is a single read of the neighbourhood of the key's place, whatever the server's processor
// does meanwhile; it has no part in it.
//
// A read may meet a write. Neither the order in which a card reads memory nor the size of what it reads at once is the same everywhere, so
// versions before and after the data, or one in each cache line (FaRM: Dragojević et al., NSDI 2014), are right with some cards only. Each
// slot has a checksum over all that is in it, with a version that grows with each write (Pilaf: Mitchell et al., USENIX ATC 2013): what does not
// fit together was torn, and is read again.
//
//	region   header 64 | slot | slot | …
//	slot     checksum 8 | version 8 | key length 2 | value length 2 | 0 4 | key | value | 0 to a multiple of 64
//
// [Table] is the server's side, [Reader] (with the tag rdma) the client's:
//
//	layout := kv.Layout{Slots: 1 << 16, Key: 32, Value: 200}
//	table, err := kv.NewTable(mem, layout) // mem: mapped memory of layout.Bytes()
//	exporter, err := rdma.NewExporter(addr, rdma.ExporterConfig{})
//	region, err := exporter.Export("users", mem, rdma.RemoteRead, time.Minute)
//	err = table.Put(key, value)
//
//	importer, err := rdma.Dial(ctx, addr)
//	reader, err := kv.Open(ctx, importer, "users")
//	value, version, err := reader.Get(ctx, key)
package kv
