package dev.forkd.http.envd;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.GuestFiles;
import dev.forkd.engine.GuestWatch;
import dev.forkd.http.ClientGoneException;
import dev.forkd.http.CutOffException;
import dev.forkd.http.connect.Call;
import dev.forkd.http.connect.ConnectCode;
import dev.forkd.http.connect.ConnectException;
import dev.forkd.http.connect.MessageStream;
import dev.forkd.http.connect.Method;
import dev.forkd.http.connect.Service;
import dev.forkd.http.envd.FilesystemMessages.ChangeEvent;
import dev.forkd.http.envd.FilesystemMessages.Empty;
import dev.forkd.http.envd.FilesystemMessages.EntryInfo;
import dev.forkd.http.envd.FilesystemMessages.EntryReply;
import dev.forkd.http.envd.FilesystemMessages.EventsReply;
import dev.forkd.http.envd.FilesystemMessages.ListRequest;
import dev.forkd.http.envd.FilesystemMessages.MoveRequest;
import dev.forkd.http.envd.FilesystemMessages.PathRequest;
import dev.forkd.http.envd.FilesystemMessages.WatchReply;
import dev.forkd.http.envd.FilesystemMessages.WatchRequest;
import dev.forkd.http.envd.FilesystemMessages.WatcherReply;
import dev.forkd.http.envd.FilesystemMessages.WatcherRequest;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.function.Consumer;
import java.util.function.LongSupplier;

/**
 * {@code filesystem.Filesystem}. Reading and changing is done with root's rights; whose request it
 * is decides where a relative path begins and who owns what is made.
 */
final class FilesystemService implements AutoCloseable {
  private static final int LEVELS_MAX = 1024;

  private final Watchers watchers;

  FilesystemService(LongSupplier nanoClock) {
    watchers = new Watchers(nanoClock);
  }

  @Override
  public void close() {
    watchers.close();
  }

  Service<Guest> service() {
    return new Service<>(
        "filesystem.Filesystem",
        List.of(
            new Method.Unary<>("Stat", PathRequest.class, FilesystemService::stat),
            new Method.Listing<>("ListDir", ListRequest.class, "entries", FilesystemService::list),
            new Method.Unary<>("MakeDir", PathRequest.class, FilesystemService::makeDirectory),
            new Method.Unary<>("Move", MoveRequest.class, FilesystemService::move),
            new Method.Unary<>("Remove", PathRequest.class, FilesystemService::remove),
            new Method.ServerStream<>("WatchDir", WatchRequest.class, FilesystemService::watch),
            new Method.Unary<>("CreateWatcher", WatchRequest.class, this::makeWatcher),
            new Method.Unary<>("GetWatcherEvents", WatcherRequest.class, this::events),
            new Method.Unary<>("RemoveWatcher", WatcherRequest.class, this::removeWatcher)));
  }

  private static ConnectException invalid(String message) {
    return new ConnectException(ConnectCode.INVALID_ARGUMENT, message);
  }

  private static boolean isFolder(GuestFiles.Entry entry) {
    return entry.type().equals("directory");
  }

  private static Object stat(Guest guest, Call call, PathRequest ask) {
    GuestFiles files = guest.files();
    return new EntryReply(
        EntryInfo.of(files.follow(Acting.of(files, call.head()).path(ask.path()))));
  }

  private static void list(Guest guest, Call call, ListRequest ask, Consumer<Object> answer) {
    if (ask.depth() < 0 || ask.depth() > LEVELS_MAX) {
      throw invalid("depth is " + ask.depth() + "; it must be 0 to " + LEVELS_MAX);
    }
    GuestFiles files = guest.files();
    String path = Acting.of(files, call.head()).path(ask.path());
    GuestFiles.Entry folder = files.follow(path);
    if (!leadsNowhere(folder)) {
      mustBeFolder(folder);
    }
    files.tree(path, Math.max(1, ask.depth()), entry -> answer.accept(EntryInfo.of(entry)));
  }

  /** The guest tells whether a link is broken or leads in circles when it is to be listed. */
  private static boolean leadsNowhere(GuestFiles.Entry entry) {
    return entry.type().equals("symlink");
  }

  private static void mustBeFolder(GuestFiles.Entry entry) {
    if (!isFolder(entry)) {
      throw invalid("path '" + entry.path() + "' is not a directory");
    }
  }

  private static Object makeDirectory(Guest guest, Call call, PathRequest ask) {
    GuestFiles files = guest.files();
    Acting acting = Acting.of(files, call.head());
    String path = acting.path(ask.path());
    boolean made;
    try {
      made = files.makeDirectory(path, Optional.of(acting.account().name()));
    } catch (ForkdException e) {
      throw inTheWay(files, path, e);
    }
    GuestFiles.Entry entry = files.follow(path);
    if (!made) {
      throw isFolder(entry)
          ? new ConnectException(
              ConnectCode.ALREADY_EXISTS, "directory '" + path + "' already exists")
          : invalid("path '" + path + "' already exists, but it is not a directory");
    }
    return new EntryReply(EntryInfo.of(entry));
  }

  /** A file where a folder would be is the client's fault, whatever the engine calls it. */
  private static RuntimeException inTheWay(GuestFiles files, String path, ForkdException failure) {
    if (failure.code() != ErrorCode.FAILED_PRECONDITION
        && failure.code() != ErrorCode.ALREADY_EXISTS) {
      return failure;
    }
    try {
      if (!isFolder(files.follow(path))) {
        return invalid("path '" + path + "' already exists, but it is not a directory");
      }
    } catch (ForkdException e) {
      return invalid(failure.message()); // It is one of its parents.
    }
    return failure;
  }

  private static Object move(Guest guest, Call call, MoveRequest ask) {
    GuestFiles files = guest.files();
    Acting acting = Acting.of(files, call.head());
    String from = acting.path(ask.source());
    String to = acting.path(ask.destination());
    files.stat(from); // Or folders would be made for nothing.
    String parent = to.substring(0, Math.max(1, to.lastIndexOf('/')));
    if (!parent.equals("/")) {
      files.makeDirectory(parent, Optional.of(acting.account().name()));
    }
    files.move(from, to);
    return new EntryReply(EntryInfo.of(files.follow(to)));
  }

  private static Object remove(Guest guest, Call call, PathRequest ask) {
    GuestFiles files = guest.files();
    try {
      files.remove(Acting.of(files, call.head()).path(ask.path()));
    } catch (ForkdException e) {
      if (e.code() != ErrorCode.NOT_FOUND) {
        throw e;
      }
    }
    return new Empty();
  }

  private static void watch(Guest guest, Call call, WatchRequest ask, MessageStream answers) {
    GuestFiles files = guest.files();
    String path = Acting.of(files, call.head()).path(ask.path());
    mustBeFolder(files.follow(path));
    CompletableFuture<Void> end = new CompletableFuture<>();
    Events events = new Events(answers, end);
    try (GuestWatch.Handle _ = files.watch(path, ask.recursive(), ask.includeEntry(), events)) {
      answers.send(WatchReply.started());
      events.open.countDown();
      answers.until(end, KeepAlive.of(call.head()), WatchReply.keepAlive());
    } finally {
      end.cancel(false);
      events.open.countDown();
    }
  }

  /** Holds events back until the client knows that it watches, then passes them on. */
  private static final class Events implements GuestWatch {
    private final CountDownLatch open = new CountDownLatch(1);
    private final MessageStream answers;
    private final CompletableFuture<Void> end;

    Events(MessageStream answers, CompletableFuture<Void> end) {
      this.answers = answers;
      this.end = end;
    }

    @Override
    public void changed(GuestWatch.Change change) {
      try {
        open.await();
        if (!end.isDone()) {
          answers.send(WatchReply.of(ChangeEvent.of(change)));
        }
      } catch (ClientGoneException | CutOffException e) {
        end.completeExceptionally(e);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }

    @Override
    public void ended(ForkdException why) {
      end.completeExceptionally(why);
    }
  }

  private Object makeWatcher(Guest guest, Call call, WatchRequest ask) {
    GuestFiles files = guest.files();
    String path = Acting.of(files, call.head()).path(ask.path());
    mustBeFolder(files.follow(path));
    return new WatcherReply(
        watchers.make(
            guest, listener -> files.watch(path, ask.recursive(), ask.includeEntry(), listener)));
  }

  private Object events(Guest guest, Call call, WatcherRequest ask) {
    return new EventsReply(watchers.drain(guest, ask.watcherId()));
  }

  private Object removeWatcher(Guest guest, Call call, WatcherRequest ask) {
    watchers.remove(guest, ask.watcherId());
    return new Empty();
  }
}
