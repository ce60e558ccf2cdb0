package guest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// The Debian release that the packages are of, whatever release this machine is: QEMU of release, the kernel of its backports.
const (
	release   = "trixie"
	backports = release + "-backports"
	mirror    = "http://deb.debian.org/debian" // unless this machine's own sources name another
)

// packages is a private world of apt: its own sources, lists, archives, and a system in which nothing is installed, so that what is fetched
// depends on nothing that this machine has. Proxies and the like are this machine's.
type packages struct{ dir string }

// tools says whether the programs are there that packages runs.
func tools() error {
	for _, name := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%w: %w: QEMU and the kernel are fetched as Debian packages", ErrUnavailable, err)
		}
	}
	return nil
}

// fetch makes a kit in dir.
func fetch(ctx context.Context, dir string) error {
	p := packages{filepath.Join(dir, "apt")}
	defer os.RemoveAll(p.dir)
	if err := p.open(ctx); err != nil {
		return err
	}
	if err := p.unpack(ctx, filepath.Join(dir, qemuDir), "install", "--download-only", "--yes", "--no-install-recommends",
		"qemu-system-x86"); err != nil {
		return err
	}
	kernel, err := p.kernel(ctx)
	if err != nil {
		return err
	}
	return p.unpack(ctx, filepath.Join(dir, linuxDir), "download", "linux-binary-"+kernel, "linux-modules-"+kernel)
}

// open writes the configuration and fetches the lists.
func (p packages) open(ctx context.Context) error {
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(p.dir, d), 0o755); err != nil {
			return err
		}
	}
	from := mirror
	// What fails here leaves the default.
	out, _ := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian").Output()
	for _, uri := range strings.Fields(string(out)) {
		if strings.HasSuffix(uri, "/debian/") {
			from = uri
			break
		}
	}
	sources := ""
	for _, suite := range []string{release, backports} {
		sources += fmt.Sprintf("deb [arch=amd64 signed-by=%s] %s %s main\n", keyring, from, suite)
	}
	// Hooks of this machine's apt, such as those of container images, which empty the archives, are none of ours.
	conf := fmt.Sprintf(`#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir "%[1]s";
Dir::State "%[1]s";
Dir::State::lists "%[1]s/lists";
Dir::State::status "%[1]s/status";
Dir::Cache "%[1]s/cache";
Dir::Etc::sourcelist "%[1]s/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::preferences "-";
Dir::Etc::preferencesparts "-";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Retries "3";
Debug::NoLocking "true";
`, p.dir)
	for name, text := range map[string]string{"apt.conf": conf, "sources.list": sources, "status": ""} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	_, err := p.apt(ctx, "apt-get", "update", "--error-on=any")
	return err
}

// kernel is the release of the newest kernel, such as 7.2.12+deb13-amd64.
func (p packages) kernel(ctx context.Context) (string, error) {
	out, err := p.apt(ctx, "apt-cache", "--option", "APT::Default-Release="+backports, "--no-all-versions", "show", "linux-image-amd64")
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`(?m)^Depends:.*\blinux-image-([0-9]\S+) `).FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("%w: linux-image-amd64 of %s depends on no kernel:\n%s", ErrUnavailable, backports, out)
	}
	return string(m[1]), nil
}

// unpack has apt-get fetch packages, unpacks them under root, and deletes them.
func (p packages) unpack(ctx context.Context, root string, args ...string) error {
	if _, err := p.apt(ctx, "apt-get", args...); err != nil {
		return err
	}
	archives, err := filepath.Glob(filepath.Join(p.dir, "cache/archives/*.deb")) // where install puts them, and download with that as its directory
	if err != nil {
		return err
	}
	if len(archives) == 0 {
		return fmt.Errorf("apt-get %s fetched nothing", strings.Join(args, " "))
	}
	for _, name := range archives {
		if _, err := p.run(ctx, "dpkg-deb", "--extract", name, root); err != nil {
			return err
		}
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// apt runs a tool of apt in the private world. What fails is the network, mostly.
func (p packages) apt(ctx context.Context, name string, args ...string) ([]byte, error) {
	out, err := p.run(ctx, name, append([]string{"--quiet=2", "--config-file", filepath.Join(p.dir, "apt.conf")}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("%w: fetching them failed; is there a network? %w", ErrUnavailable, err)
	}
	return out, nil
}

// run runs a tool and returns what it printed.
func (p packages) run(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = filepath.Join(p.dir, "cache/archives")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%v: %w\n%s", cmd, err, errs.Bytes())
	}
	return out.Bytes(), nil
}
