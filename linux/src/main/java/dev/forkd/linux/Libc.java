package dev.forkd.linux;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.StructLayout;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.VarHandle;

/**
 * The C library calls behind this package, and the one place where a return code becomes an
 * exception. Each handle's signature is that of the manual page named beside it.
 */
@SuppressWarnings("restricted") // this package is the one that may make native calls
final class Libc {
  private static final Linker LINKER = Linker.nativeLinker();
  private static final StructLayout CAPTURE = Linker.Option.captureStateLayout();
  private static final VarHandle ERRNO =
      CAPTURE.varHandle(MemoryLayout.PathElement.groupElement("errno"));
  private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT;
  private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG;

  /** memfd_create(2). */
  private static final MethodHandle MEMFD_CREATE =
      handle("memfd_create", FunctionDescriptor.of(INT, ValueLayout.ADDRESS, INT));

  /** fcntl(2) with an integer argument. */
  private static final MethodHandle FCNTL =
      variadic("fcntl", FunctionDescriptor.of(INT, INT, INT, INT));

  /** ioctl(2) with a pointer argument. */
  private static final MethodHandle IOCTL =
      variadic("ioctl", FunctionDescriptor.of(INT, INT, LONG, ValueLayout.ADDRESS));

  /** open(2) without a mode. */
  private static final MethodHandle OPEN =
      handle("open", FunctionDescriptor.of(INT, ValueLayout.ADDRESS, INT));

  /** close(2). */
  private static final MethodHandle CLOSE = handle("close", FunctionDescriptor.of(INT, INT));

  /** lseek(2). */
  private static final MethodHandle LSEEK =
      handle("lseek", FunctionDescriptor.of(LONG, INT, LONG, INT));

  /** process_vm_readv(2). */
  private static final MethodHandle PROCESS_VM_READV =
      handle(
          "process_vm_readv",
          FunctionDescriptor.of(
              LONG, INT, ValueLayout.ADDRESS, LONG, ValueLayout.ADDRESS, LONG, LONG));

  /** waitpid(2). */
  private static final MethodHandle WAITPID =
      handle("waitpid", FunctionDescriptor.of(INT, INT, ValueLayout.ADDRESS, INT));

  private Libc() {}

  private static MethodHandle handle(String name, FunctionDescriptor descriptor) {
    return LINKER.downcallHandle(
        LINKER.defaultLookup().findOrThrow(name),
        descriptor,
        Linker.Option.captureCallState("errno"));
  }

  /** All our variadic calls have two fixed arguments. */
  private static MethodHandle variadic(String name, FunctionDescriptor descriptor) {
    return LINKER.downcallHandle(
        LINKER.defaultLookup().findOrThrow(name),
        descriptor,
        Linker.Option.captureCallState("errno"),
        Linker.Option.firstVariadicArg(2));
  }

  static int memfdCreate(String name, int flags) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment errno = arena.allocate(CAPTURE);
      int fd = (int) MEMFD_CREATE.invokeExact(errno, arena.allocateFrom(name), flags);
      return (int) check("memfd_create", fd, errno);
    } catch (IOException e) {
      throw e;
    } catch (Throwable e) {
      throw new LinkageError("memfd_create", e);
    }
  }

  static int fcntl(int fd, int command, int argument) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment errno = arena.allocate(CAPTURE);
      int result = (int) FCNTL.invokeExact(errno, fd, command, argument);
      return (int) check("fcntl", result, errno);
    } catch (IOException e) {
      throw e;
    } catch (Throwable e) {
      throw new LinkageError("fcntl", e);
    }
  }

  static int ioctl(int fd, long request, MemorySegment argument) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment errno = arena.allocate(CAPTURE);
      int result = (int) IOCTL.invokeExact(errno, fd, request, argument);
      return (int) check("ioctl", result, errno);
    } catch (IOException e) {
      throw e;
    } catch (Throwable e) {
      throw new LinkageError("ioctl", e);
    }
  }

  static int open(String path, int flags) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment errno = arena.allocate(CAPTURE);
      int result = (int) OPEN.invokeExact(errno, arena.allocateFrom(path), flags);
      return (int) check("open " + path, result, errno);
    } catch (IOException e) {
      throw e;
    } catch (Throwable e) {
      throw new LinkageError("open", e);
    }
  }

  static void close(int fd) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment errno = arena.allocate(CAPTURE);
      int result = (int) CLOSE.invokeExact(errno, fd);
      check("close", result, errno);
    } catch (IOException e) {
      throw e;
    } catch (Throwable e) {
      throw new LinkageError("close", e);
    }
  }

  /** Returns the new offset, or -1 when there is nothing more (ENXIO). */
  static long lseek(int fd, long offset, int whence) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment errno = arena.allocate(CAPTURE);
      long result = (long) LSEEK.invokeExact(errno, fd, offset, whence);
      if (result < 0 && (int) ERRNO.get(errno, 0L) == ENXIO) {
        return -1;
      }
      return check("lseek", result, errno);
    } catch (IOException e) {
      throw e;
    } catch (Throwable e) {
      throw new LinkageError("lseek", e);
    }
  }

  static long processVmReadv(
      int pid, MemorySegment local, long localCount, MemorySegment remote, long remoteCount)
      throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment errno = arena.allocate(CAPTURE);
      long result =
          (long)
              PROCESS_VM_READV.invokeExact(errno, pid, local, localCount, remote, remoteCount, 0L);
      return check("process_vm_readv of pid " + pid, result, errno);
    } catch (IOException e) {
      throw e;
    } catch (Throwable e) {
      throw new LinkageError("process_vm_readv", e);
    }
  }

  /** Returns the pid, or 0; the wait status goes into {@code status}. */
  static int waitpid(int pid, int[] status, int options) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment errno = arena.allocate(CAPTURE);
      MemorySegment into = arena.allocate(INT);
      int result = (int) WAITPID.invokeExact(errno, pid, into, options);
      status[0] = into.get(INT, 0);
      return (int) check("waitpid", result, errno);
    } catch (IOException e) {
      throw e;
    } catch (Throwable e) {
      throw new LinkageError("waitpid", e);
    }
  }

  /** No such device or address: what lseek(2) answers past the last data. */
  private static final int ENXIO = 6;

  private static long check(String what, long result, MemorySegment capture) throws IOException {
    if (result >= 0) {
      return result;
    }
    int errno = (int) ERRNO.get(capture, 0L);
    throw new ErrnoException(what, errno);
  }
}
