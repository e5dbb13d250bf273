package dev.forkd.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;

/**
 * Asks by trying whether this process may handle page faults in user space.
 *
 * @see <a href="https://man7.org/linux/man-pages/man2/userfaultfd.2.html">userfaultfd(2)</a>
 */
public final class Userfaultfd {
  private static final long SYSCALL_NUMBER = 323;
  private static final int O_CLOEXEC = 0x80000;
  private static final int USER_MODE_ONLY = 1;
  private static final long UFFDIO_API = 0xC018AA3FL;
  private static final long UFFD_API = 0xAA;
  private static final long FEATURE_PAGEFAULT_FLAG_WP = 1;

  /** What the kernel lets this process do. */
  public enum Support {
    /** Write protection, with faults of the kernel as well: what a live branch needs. */
    FULL,
    /** Only faults raised in user mode, which a VMM under KVM cannot live with. */
    USER_MODE_ONLY,
    /** No write protection. */
    NO_WRITE_PROTECTION,
    /** The call is missing or forbidden. */
    NONE
  }

  private Userfaultfd() {}

  /** Opens one, asks for write protection, closes it. */
  @SuppressWarnings("restricted") // this package is the one that may make native calls
  public static Support probe() {
    MethodHandle open =
        Linker.nativeLinker()
            .downcallHandle(
                Linker.nativeLinker().defaultLookup().findOrThrow("syscall"),
                FunctionDescriptor.of(
                    ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG, ValueLayout.JAVA_INT),
                Linker.Option.firstVariadicArg(1));
    try {
      long fd = (long) open.invokeExact(SYSCALL_NUMBER, O_CLOEXEC);
      if (fd >= 0) {
        return protects((int) fd) ? Support.FULL : Support.NO_WRITE_PROTECTION;
      }
      fd = (long) open.invokeExact(SYSCALL_NUMBER, O_CLOEXEC | USER_MODE_ONLY);
      if (fd < 0) {
        return Support.NONE;
      }
      return protects((int) fd) ? Support.USER_MODE_ONLY : Support.NO_WRITE_PROTECTION;
    } catch (Throwable e) {
      throw new LinkageError("userfaultfd", e);
    }
  }

  private static boolean protects(int fd) throws java.io.IOException {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment api = arena.allocate(24, 8);
      api.set(ValueLayout.JAVA_LONG, 0, UFFD_API);
      api.set(ValueLayout.JAVA_LONG, 8, FEATURE_PAGEFAULT_FLAG_WP);
      Libc.ioctl(fd, UFFDIO_API, api);
      return true;
    } catch (ErrnoException e) {
      return false;
    } finally {
      Libc.close(fd);
    }
  }
}
