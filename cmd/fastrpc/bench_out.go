package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/fastrpc/fastrpc/bench/result"
	"github.com/fastrpc/fastrpc/bench/result/text"
)

// outputs are what a report is written to: the screen, and files for other tools.
type outputs struct {
	forms    []*form
	hgrm     string // folder
	probe    *stage // shows that the folder can be written
	perftest bool
}

// A form is one file.
type form struct {
	flag, usage string
	run         int // bytes that one run of one system takes, more or less
	write       func(io.Writer, *result.Report) error

	name  string
	stage *stage
}

const standardOutput = "-"

func (o *outputs) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	o.add(cmd, &form{flag: "json", run: 16 << 10, write: func(w io.Writer, r *result.Report) error { return r.Write(w) },
		usage: "also write the report as JSON to this file; - is standard output, the table then goes to standard error"})
	o.add(cmd, &form{flag: "csv", run: 2 << 10, write: text.CSV,
		usage: "also write a line for each round to this file; - is standard output"})
	o.add(cmd, &form{flag: "hlog", run: 16 << 10, write: text.HLog,
		usage: "also write the histogram of each round to this file, in HdrHistogram's log format 1.3; - is standard output"})
	o.add(cmd, htmlForm())
	f.StringVar(&o.hgrm, "hgrm", "", "also write each system's percentiles, as HdrHistogram's plotter reads them, to a file of its own in this folder, in µs")
	f.BoolVar(&o.perftest, "perftest", false, "instead of the table print the columns of perftest's ib_send_lat: one way, half of a round trip")
}

// add adds a file and the flag that names it.
func (o *outputs) add(cmd *cobra.Command, f *form) {
	o.forms = append(o.forms, f)
	cmd.Flags().StringVar(&f.name, f.flag, "", f.usage)
	_ = cmd.MarkFlagFilename(f.flag)
}

// What a form takes besides its runs, and a file of percentiles.
const (
	bytesOfReport = 64 << 10
	bytesOfHGRM   = 16 << 10
)

// prepare makes sure, before minutes of measuring, that all files can be written: so many runs of systems will stand in them. The caller discards
// afterwards, also after an error.
func (o *outputs) prepare(workload string, runs int) error {
	if o.perftest && !text.HasRoundTrips(workload) {
		return usageError{fmt.Errorf("--perftest has the columns of a ping-pong, which workload %s is not; leave it out", workload)}
	}
	var errs []error
	var names []string
	for _, f := range o.forms {
		if f.name == "" {
			continue
		}
		if slices.Contains(names, filepath.Clean(f.name)) {
			return usageError{fmt.Errorf("--%s %s: another output has that name, too", f.flag, f.name)}
		}
		names = append(names, filepath.Clean(f.name))
		if f.name == standardOutput {
			continue
		}
		var err error
		if f.stage, err = newStage(f.name, int64(bytesOfReport+runs*f.run)); err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", f.flag, err))
		}
	}
	if o.hgrm != "" {
		err := os.MkdirAll(o.hgrm, 0o755)
		if err == nil {
			o.probe, err = newStage(filepath.Join(o.hgrm, "probe"), bytesOfReport)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--hgrm: %w", err))
		}
	}
	return errors.Join(errs...)
}

// discard takes away what was prepared and not written.
func (o *outputs) discard() {
	for _, f := range o.forms {
		if f.stage != nil {
			f.stage.discard()
		}
	}
	if o.probe != nil {
		o.probe.discard()
	}
}

// write writes everything that was asked for; what cannot be written does not keep the rest from it.
func (o *outputs) write(cmd *cobra.Command, r *result.Report) error {
	screen, show := cmd.OutOrStdout(), text.Screen
	if slices.ContainsFunc(o.forms, func(f *form) bool { return f.name == standardOutput }) {
		screen = cmd.ErrOrStderr()
	}
	if o.perftest {
		show = text.Perftest
	}
	errs := []error{show(screen, r)}
	for _, f := range o.forms {
		var err error
		switch {
		case f.name == standardOutput:
			err = f.write(cmd.OutOrStdout(), r)
		case f.stage != nil:
			err = f.stage.commit(func(w io.Writer) error { return f.write(w, r) })
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s %s: %w", f.flag, f.name, err))
		}
	}
	if o.hgrm != "" {
		o.probe.discard()
		if err := writeHGRM(o.hgrm, r); err != nil {
			errs = append(errs, fmt.Errorf("--hgrm %s: %w", o.hgrm, err))
		}
	}
	return errors.Join(errs...)
}

func writeHGRM(folder string, r *result.Report) error {
	all, err := text.Distributions(r)
	if err != nil {
		return err
	}
	var errs []error
	for i := range all {
		s, err := newStage(filepath.Join(folder, all[i].Name+".hgrm"), bytesOfHGRM)
		if err == nil {
			err = s.commit(func(w io.Writer) error { return text.HGRM(w, &all[i]) })
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
