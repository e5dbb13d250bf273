package dev.forkd.template;

import dev.forkd.api.ForkdException;
import dev.forkd.engine.TemplateSpec;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;

/**
 * Everything a template is booted from. Each part is made when it is first asked for and reused
 * until what it is made of changes. Any thread may call; the calls for one part wait for each
 * other.
 */
public final class TemplateAssets {
  private final Path home;
  private final GuestKernels kernels;
  private final AgentBinary agent;
  private final Initramfs initramfs;
  private final TscFrequency tsc;
  private final RootImages roots;

  /**
   * @param dataDir the daemon's data dir; {@code guest} and {@code staging} in it are used
   * @param forkdHome the checkout, for the sources of what runs in the guest
   */
  public TemplateAssets(Path dataDir, Path forkdHome) {
    Path data = dataDir.toAbsolutePath().normalize();
    this.home = forkdHome.toAbsolutePath().normalize();
    Path guest = data.resolve("guest");
    this.kernels = new GuestKernels(guest.resolve("kernels"));
    this.agent = new AgentBinary(home, guest);
    this.initramfs = new Initramfs(guest);
    this.tsc = new TscFrequency(home, guest);
    this.roots = new RootImages(guest.resolve("roots"), data.resolve("staging"));
  }

  /** Where forkd itself is. */
  public Path home() {
    return home;
  }

  /** Rate of this host's time stamp counter, measured once per boot of the host. */
  public int tscKhz() {
    return tsc.khz();
  }

  /** With Debian's kernel, fetched when there is none yet. */
  public BootAssets bootAssets(Consumer<String> progress) {
    return bootAssets(Optional.empty(), false, progress);
  }

  /**
   * With a kernel of the caller's, or Debian's.
   *
   * @param refresh look for a newer one of Debian's
   * @param progress told of each step that takes time, from any thread
   */
  public BootAssets bootAssets(
      Optional<Path> ownKernel, boolean refresh, Consumer<String> progress) {
    if (refresh && ownKernel.isEmpty()) {
      // The network may take its time; guests that just boot again do not wait for it.
      kernels.refresh(progress);
    }
    return bootAssets(ownKernel, progress);
  }

  private synchronized BootAssets bootAssets(Optional<Path> ownKernel, Consumer<String> progress) {
    GuestKernel kernel = ownKernel.map(kernels::at).orElseGet(() -> kernels.debian(progress));
    List<KernelModule> modules =
        kernel
            .modules()
            .map(folder -> KernelModules.in(folder).loadOrder(KernelModules.REQUIRED))
            .orElse(List.of());
    AgentBinary.Built built = agent.build(progress);
    return new BootAssets(
        kernel.image(),
        kernel.release(),
        initramfs.build(built, modules),
        built.sourceHash(),
        tsc.khz());
  }

  /**
   * A finished raw ext4 image in the staging folder; the caller moves it into place.
   *
   * @param diskMib its size; a root file given by path is grown to it, never shrunk
   */
  public Path rootImage(TemplateSpec spec, int diskMib, Consumer<String> progress) {
    return roots.make(spec.source(), diskMib, spec.refresh(), progress);
  }

  /** Removes root images and kernels that are too old to be of use for another template. */
  public void forgetOld() {
    try {
      roots.forgetOld();
      kernels.forgetOld();
    } catch (ForkdException e) {
      // They take space and do no harm.
      System.getLogger(TemplateAssets.class.getName())
          .log(System.Logger.Level.WARNING, e.message());
    }
  }
}
