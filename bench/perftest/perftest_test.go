package perftest

import (
	"slices"
	"testing"
	"time"
)

// Output of perftest 4.5, shortened.
const latency = `---------------------------------------------------------------------------------------
                    Send Latency Test
 Dual-port       : OFF		Device         : rxe0
 local address: LID 0000 QPN 0x0012 PSN 0x4a37bb
 GID: 00:00:00:00:00:00:00:00:00:00:255:255:192:00:02:07
---------------------------------------------------------------------------------------
 #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    t_stdev[usec]   99% percentile[usec]   99.9% percentile[usec]
#, usec
1, 42.13
2, 40.5
3, 1040.25
 64      4          40.50          1040.25      42.13    	       374.29      	470.12		1040.25 		1040.25
---------------------------------------------------------------------------------------
`

const bandwidth = ` #bytes     #iterations    BW peak[Gb/sec]    BW average[Gb/sec]   MsgRate[Mpps]
 64         100000           0.052              0.051   		     0.099876
`

func TestTimes(t *testing.T) {
	got, err := parseTimes([]byte(latency))
	want := []time.Duration{42130, 40500, 1040250}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for _, bad := range []string{"", bandwidth, "1, fast\n"} {
		if got, err := parseTimes([]byte(bad)); err == nil {
			t.Errorf("%q is read as %v", bad, got)
		}
	}
}

func TestRate(t *testing.T) {
	got, err := parseRate([]byte(bandwidth))
	if err != nil || got != 99876 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", latency[:200], " #bytes #iterations\n 64 1000 0.0 0.0 0.0\n"} {
		if got, err := parseRate([]byte(bad)); err == nil {
			t.Errorf("%q is read as %v", bad, got)
		}
	}
}
