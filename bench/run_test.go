package bench

import "testing"

// The same run draws the same, whatever the system; each round and each side of it draw something else.
func TestSeeds(t *testing.T) {
	c := Config{Seed: 7}
	seen := map[uint64]bool{}
	for round := range 100 {
		client, server := c.seeds(round)
		if a, b := c.seeds(round); a != client || b != server {
			t.Errorf("round %d has two pairs of seeds", round)
		}
		seen[client], seen[server] = true, true
	}
	if len(seen) != 200 {
		t.Errorf("%d seeds for both sides of 100 rounds", len(seen))
	}
}
