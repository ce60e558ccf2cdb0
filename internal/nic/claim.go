package nic

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Claim is what this process has changed at a device and gives back: by Close, or, if it is killed, by whoever calls Device.Recover next. Each
// change is written down before it is made, in a file under /run/fastrpc/nic that is locked as long as its owner lives. What others changed
// meanwhile is left as they want it.
//
// Its methods may be called from one goroutine at a time. They need CAP_NET_ADMIN and a directory that can be written.
type Claim struct {
	dev     *Device
	rec     *record
	entries []entry // what is to be given back, in the order of its making
}

// entry is one change. One of Rule, Context, and Old with New is set.
type entry struct {
	Number  int           // in its record, from 1
	Undone  int           `json:",omitempty"` // the number of the change that this one takes back
	Rule    *Rule         `json:",omitempty"`
	Context uint32        `json:",omitempty"`
	NAPI    uint32        `json:",omitempty"` // whose settings; 0: the device's defaults
	Old     *NAPISettings `json:",omitempty"`
	New     *NAPISettings `json:",omitempty"`
}

// NewClaim begins with nothing.
func NewClaim(d *Device) *Claim { return &Claim{dev: d} }

// AddRule installs a rule. If it is there already it is somebody else's, and stays when this claim is closed.
func (c *Claim) AddRule(r Rule) error {
	return locked(func() error {
		rules, err := c.dev.Rules()
		if err != nil || slices.ContainsFunc(rules, func(have PlacedRule) bool { return !have.Foreign && have.Rule == r }) {
			return err
		}
		return c.change(entry{Rule: &r}, func() error {
			_, err := c.dev.AddRule(r)
			return err
		})
	})
}

// DeleteRule removes a rule of this claim, and no other.
func (c *Claim) DeleteRule(r Rule) error {
	return locked(func() error {
		i := slices.IndexFunc(c.entries, func(e entry) bool { return e.Rule != nil && *e.Rule == r })
		if i < 0 {
			return nil
		}
		if err := c.dev.undo(c.entries[i], nil); err != nil {
			return err
		}
		return c.strike(i)
	})
}

// AddContext makes an RSS context over queues.
func (c *Claim) AddContext(queues []int) (context uint32, err error) {
	return context, locked(func() error {
		// The kernel chooses the number, so this change alone is written down after it was made.
		if context, err = c.dev.AddContext(queues); err != nil {
			return err
		}
		if err := c.change(entry{Context: context}, func() error { return nil }); err != nil {
			return errors.Join(err, c.dev.DeleteContext(context))
		}
		return nil
	})
}

// SetNAPI changes the settings of a NAPI instance, or, with an id of 0, of all of the device.
func (c *Claim) SetNAPI(id uint32, want NAPISettings) error {
	return locked(func() error {
		have, err := c.dev.settings(id)
		if err != nil {
			return err
		}
		old := have
		others, err := c.dev.living(c.rec)
		if err != nil {
			return err
		}
		for _, o := range others { // one who lives changed it before: what was there before that is what the last one gives back
			if o.New != nil && o.NAPI == id && *o.New == have {
				old = *o.Old
			}
		}
		if old == want {
			return nil
		}
		return c.change(entry{NAPI: id, Old: &old, New: &want}, func() error { return c.dev.setSettings(id, want) })
	})
}

// Close gives everything back, last change first. What it cannot, for want of a capability that was dropped, say, is left to Recover.
func (c *Claim) Close() error {
	if c.rec == nil {
		return nil
	}
	return locked(func() error {
		others, err := c.dev.living(c.rec)
		for _, e := range slices.Backward(c.entries) {
			err = errors.Join(err, c.dev.undo(e, others))
		}
		rec := c.rec
		c.rec, c.entries = nil, nil
		if err != nil {
			return errors.Join(err, rec.close())
		}
		return rec.remove()
	})
}

// change writes an entry down and makes the change.
func (c *Claim) change(e entry, do func() error) error {
	if c.rec == nil {
		rec, err := newRecord(c.dev)
		if err != nil {
			return err
		}
		c.rec = rec
	}
	if err := c.rec.write(&e); err != nil {
		return err
	}
	c.entries = append(c.entries, e)
	if err := do(); err != nil {
		return errors.Join(err, c.strike(len(c.entries)-1))
	}
	return nil
}

// strike forgets an entry that is undone.
func (c *Claim) strike(i int) error {
	e := c.entries[i]
	c.entries = slices.Delete(c.entries, i, i+1)
	return c.rec.write(&entry{Undone: e.Number})
}

// undo takes one change back, as far as none of those who live wants it too. What is gone, with its device or its NAPI instance, is no error.
func (d *Device) undo(e entry, others []entry) (err error) {
	switch {
	case e.Rule != nil:
		err = d.DeleteRule(*e.Rule)
	case e.Context != 0:
		err = d.DeleteContext(e.Context)
	case e.Old != nil && e.New != nil:
		before := e.Old
		for _, o := range others {
			if o.New != nil && o.NAPI == e.NAPI {
				before = o.New
			}
		}
		var have NAPISettings
		if have, err = d.settings(e.NAPI); err == nil {
			err = d.setSettings(e.NAPI, have.back(e.New, before))
		}
	}
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// back returns the settings with those that a change has made, and nobody else since, as they were before.
func (s NAPISettings) back(made, before *NAPISettings) NAPISettings {
	if s.DeferHardIRQs == made.DeferHardIRQs {
		s.DeferHardIRQs = before.DeferHardIRQs
	}
	if s.GROFlushTimeout == made.GROFlushTimeout {
		s.GROFlushTimeout = before.GROFlushTimeout
	}
	if s.IRQSuspendTimeout == made.IRQSuspendTimeout {
		s.IRQSuspendTimeout = before.IRQSuspendTimeout
	}
	if s.Threaded == made.Threaded {
		s.Threaded = before.Threaded
	}
	return s
}

// living are the changes of other claims that are not closed. What the dead left changed is for Recover.
func (d *Device) living(but *record) ([]entry, error) {
	living, dead, err := d.records(but)
	for _, r := range dead {
		err = errors.Join(err, r.close())
	}
	return living, err
}

// settings are those of a NAPI instance, or of the device.
func (d *Device) settings(id uint32) (NAPISettings, error) {
	if id == 0 {
		return d.NAPIDefaults()
	}
	n, err := d.NAPI(id)
	return n.NAPISettings, err
}

func (d *Device) setSettings(id uint32, s NAPISettings) error {
	if id == 0 {
		return d.SetNAPIDefaults(s)
	}
	return d.SetNAPI(id, s)
}

// Recover gives back what processes that are no more have left changed at the device. It does nothing where they left nothing.
func (d *Device) Recover() error {
	if names, err := filepath.Glob(filepath.Join(recordDir, d.pattern())); err != nil || len(names) == 0 {
		return err
	}
	return locked(func() error {
		others, dead, err := d.records(nil)
		errs := []error{err}
		for _, r := range dead {
			entries, err := r.entries()
			for _, e := range slices.Backward(entries) {
				err = errors.Join(err, d.undo(e, others))
			}
			if err != nil { // the next one tries again
				errs = append(errs, fmt.Errorf("nic: giving back what process %d changed: %w", r.pid, err), r.close())
				continue
			}
			errs = append(errs, r.remove())
		}
		return errors.Join(errs...)
	})
}
