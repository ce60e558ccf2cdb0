//go:build !rdma

package bench

func init() {
	for _, name := range []string{
		"rdma-ud", "rdma-rc", "rdma-read", "rdma-write", "ib_send_lat", "ib_send_lat-rc", "ib_write_lat", "ib_read_lat", "ib_send_bw",
	} {
		AddMissing(name, "this program was built without RDMA: 'apt-get install libibverbs-dev librdmacm-dev perftest', then 'make build-rdma'")
	}
}
