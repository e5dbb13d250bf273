package dev.forkd.template;

import java.util.Map;
import java.util.TreeMap;

/** A file of a merged image, as its last layer left it. Two names of one node are a hard link. */
final class TreeNode {
  /** What it is. Device nodes are not kept: a guest has devtmpfs. */
  enum Kind {
    FOLDER,
    FILE,
    SYMLINK,
    FIFO
  }

  final Kind kind;

  /** Only of a folder. */
  final Map<String, TreeNode> children = new TreeMap<>();

  int mode;
  long uid;
  long gid;
  long modifiedSeconds;

  /** Extended attributes by their full names. */
  Map<String, byte[]> attributes = Map.of();

  /** Only of a symbolic link. */
  String target = "";

  /** Only of a file: where its content is. */
  Content content = new InMemory(new byte[0]);

  TreeNode(Kind kind, int mode) {
    this.kind = kind;
    this.mode = mode;
  }

  boolean isFolder() {
    return kind == Kind.FOLDER;
  }

  /** Where the bytes of a file are. */
  sealed interface Content {
    long sizeBytes();
  }

  /** The {@code ordinal}-th entry of a layer, both counted from 0. */
  record InLayer(int layer, int ordinal, long sizeBytes) implements Content {}

  /** Bytes of ours. */
  record InMemory(byte[] bytes) implements Content {
    @Override
    public long sizeBytes() {
      return bytes.length;
    }
  }
}
