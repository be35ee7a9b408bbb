# Writes pictures of every kind and pillow.json: what the convert("RGB") of Pillow (9.4) gives, or why they are refused. make.py FOLDER
import hashlib, json, os, struct, sys
from PIL import Image
import numpy as np
out = sys.argv[1]; os.makedirs(out, exist_ok=True)
r = np.random.RandomState(7)
y, x = np.mgrid[0:31, 0:45]
rgb = np.stack([(x*5+y*2) % 256, (x*y) % 256, (255-3*x+y*4) % 256], -1).astype(np.uint8)
rgb[8:16, 10:30] = r.randint(0, 256, (8, 20, 3))
im = Image.fromarray(rgb)
gray = im.convert("L"); pal = im.quantize(37); pal16 = im.quantize(13); bil = im.convert("1")
alpha = Image.fromarray(np.concatenate([rgb, ((x*7) % 256)[..., None].astype(np.uint8)], -1), "RGBA")
g16 = Image.fromarray(((x*37 + y*5) % 700).astype(np.uint16))
def save(n, i, **k): i.save(os.path.join(out, n), **k)
save("rgb.webp", im, quality=70); save("lossless.webp", im, lossless=True); save("alpha.webp", alpha, quality=60); save("alpha-lossless.webp", alpha, lossless=True, exact=True)
save("icc-exif.webp", im, quality=80, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0", icc_profile=b"x"*300)
save("tiny.webp", im.crop((0,0,1,1)), quality=50); save("odd.webp", im.crop((0,0,17,1)), quality=50)
for m in range(0, 7, 3): save("method%d.webp" % m, im.resize((200, 133)), quality=30, method=m)
save("palette.webp", pal16.convert("RGB"), lossless=True)
save("palette.gif", pal); save("gray.gif", gray); save("bilevel.gif", bil); save("interlaced.gif", pal, interlace=1)
t = pal.copy(); save("transparent.gif", t, transparency=3)
save("animated.gif", pal, save_all=True, append_images=[pal.rotate(180), pal16], duration=50, loop=0, comment=b"hello")
for n, i in (("rgb", im), ("gray", gray), ("palette", pal), ("palette4", pal16), ("bilevel", bil), ("alpha", alpha)): save(n + ".bmp", i)
for n, i in (("rgb", im), ("gray", gray), ("palette", pal), ("bilevel", bil), ("alpha", alpha), ("la", alpha.convert("LA")), ("gray16", g16)):
    for c in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        save("%s-%s.tif" % (n, c), i, compression=None if c == "raw" else c)
    for c in ("tiff_lzw", "tiff_adobe_deflate"):
        if n not in ("bilevel",): save("%s-%s-predictor.tif" % (n, c), i, compression=c, tiffinfo={317: 2})
big = im.resize((310, 270)); save("strips.tif", big, compression="tiff_lzw", tiffinfo={278: 16})
save("fax.tif", bil, compression="group4"); save("jpeg.tif", im, compression="jpeg"); save("group3.tif", bil, compression="group3")
save("pages.tif", im, save_all=True, append_images=[gray])
for n, i in (("rgb", im), ("gray", gray), ("palette", pal), ("alpha", alpha), ("la", alpha.convert("LA"))):
    save(n + ".tga", i); save(n + "-rle.tga", i, compression="tga_rle"); save(n + "-top.tga", i, orientation=1)
save("rgb.ppm", im); save("gray.pgm", gray); save("bilevel.pbm", bil); save("gray16.pgm", g16.convert("I"))
def raw(n, b): open(os.path.join(out, n), "wb").write(b)
# By hand: what Pillow reads and does not write.
W, H = 7, 5
p555 = struct.pack("<%dH" % (W*H), *[(i*911) % 32768 for i in range(W*H)])
def tga(kind, depth, data, descriptor=0, cmap=b"", cmaptype=0, start=0, n=0, cd=0): return struct.pack("<BBBHHBHHHHBB", 0, cmaptype, kind, start, n, cd, 0, 0, W, H, depth, descriptor) + cmap + data
raw("rgb555.tga", tga(2, 16, p555)); raw("rgb555-alpha.tga", tga(2, 16, p555, 1 | 0x20))
def bmp(bits, data, comp=0, masks=b"", pal=b"", h=H, size=40, used=0):
    off = 14 + size + (len(masks) if size == 40 else 0) + len(pal)
    hd = struct.pack("<IiiHHIIiiII", size, W, h, 1, bits, comp, len(data), 0, 0, used, 0)
    return b"BM" + struct.pack("<IHHI", off + len(data), 0, 0, off) + hd + masks + b"\0"*(size - 40 - len(masks) if size > 40 else 0) + pal + data
rows16 = b"".join(p555[2*W*i:2*W*i+2*W] + b"\0"*((-2*W) % 4) for i in range(H))
full16 = struct.pack("<%dH" % (W*H), *[(i*1871) % 65536 for i in range(W*H)]); rows565 = b"".join(full16[2*W*i:2*W*i+2*W] + b"\0"*((-2*W) % 4) for i in range(H))
raw("rgb555.bmp", bmp(16, rows16)); raw("rgb565.bmp", bmp(16, rows565, 3, struct.pack("<III", 0xF800, 0x7E0, 0x1F))); raw("rgb555-masks.bmp", bmp(16, rows16, 3, struct.pack("<III", 0x7C00, 0x3E0, 0x1F)))
d32 = bytes(r.randint(0, 256, 4*W*H).astype(np.uint8)); raw("rgb32.bmp", bmp(32, d32)); raw("top-down.bmp", bmp(32, d32, h=-H))
raw("masks32.bmp", bmp(32, d32, 3, struct.pack("<III", 0xFF0000, 0xFF00, 0xFF))); raw("masks32-v5.bmp", bmp(32, d32, 3, struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000), size=124))
raw("masks32-rgba.bmp", bmp(32, d32, 3, struct.pack("<IIII", 0xFF, 0xFF00, 0xFF0000, 0xFF000000), size=124))
pal256 = bytes(r.randint(0, 256, 1024).astype(np.uint8))
rle8 = bytes([7, 3, 0, 0, 0, 5, 9, 8, 7, 6, 5, 0, 2, 1, 0, 0, 7, 200, 0, 0, 7, 77, 0, 0, 3, 1, 4, 2, 0, 1]); raw("rle8.bmp", bmp(8, rle8, 1, pal=pal256))
rle4 = bytes([7, 0x12, 0, 0, 0, 6, 0x98, 0x76, 0x54, 0, 1, 0x11, 0, 0, 7, 0x34, 0, 0, 7, 0x77, 0, 0, 7, 0x51, 0, 1]); raw("rle4.bmp", bmp(4, rle4, 2, pal=pal256[:64]))
raw("few-colours.bmp", bmp(8, b"".join(bytes([(i*W+j) % 5 for j in range(W)]) + b"\0" for i in range(H)), pal=pal256[:20], used=5))
raw("os2.bmp", b"BM" + struct.pack("<IHHI", 26 + 24*H, 0, 0, 26) + struct.pack("<IHHHH", 12, W, H, 1, 24) + bytes(r.randint(0, 256, 24*H).astype(np.uint8)))
raw("gray-maximum100.pgm", b"P5\n# note\n%d %d\n100\n" % (W, H) + bytes((i*3) % 101 for i in range(W*H)))
raw("rgb16.ppm", b"P6 %d %d 65535\n" % (W, H) + bytes(r.randint(0, 256, 6*W*H).astype(np.uint8)))
raw("rgb1023.ppm", b"P6 %d %d 1023\n" % (W, H) + struct.pack(">%dH" % (3*W*H), *[(i*37) % 1024 for i in range(3*W*H)]))
raw("gray1023.pgm", b"P5 %d %d 1023\n" % (W, H) + struct.pack(">%dH" % (W*H), *[(i*37) % 1024 for i in range(W*H)]))
raw("plain.pbm", b"P1\n# c\n%d %d\n" % (W, H) + b"\n".join(b"1 0 11 0 1 0" for _ in range(H)) + b"\n")
raw("plain.pgm", b"P2\n%d %d\n15\n" % (W, H) + b" ".join(b"%d" % (i % 16) for i in range(W*H)) + b"\n")
raw("plain.ppm", b"P3\n%d %d\n255\n" % (W, H) + b" ".join(b"%d" % ((i*7) % 256) for i in range(3*W*H)) + b"\n")
raw("palette24.tga", tga(1, 8, bytes((i*3) % 40 for i in range(W*H)), 0, pal256[:120], 1, 0, 40, 24))
raw("palette16.tga", tga(1, 8, bytes((i*3) % 40 for i in range(W*H)), 0, pal256[:80], 1, 0, 40, 16)); raw("palette-start.tga", tga(1, 8, bytes(3 + (i*3) % 37 for i in range(W*H)), 0, pal256[:111], 1, 3, 37, 24))
raw("bottom-right.tga", tga(2, 24, d32[:3*W*H], 0x10)); raw("top-right.tga", tga(2, 24, d32[:3*W*H], 0x30))
def ifd(order, tags, strips):
    e = order; body = b""; n = len(tags) + 3; at = 8 + 2 + 12*n + 4; data = b""; ent = []
    tags = dict(tags); tags[279] = (4, [len(s) for s in strips]); offs = []
    tags.setdefault(278, (4, [H])); tags[273] = (4, [0]*len(strips))
    size = {3: 2, 4: 4, 1: 1}; code = {3: "H", 4: "I", 1: "B"}
    n = len(tags); at = 8 + 2 + 12*n + 4
    extra = {k: size[t]*len(v) for k, (t, v) in tags.items()}
    pos = at + sum(s for s in extra.values() if s > 4); o = []
    for s in strips: o.append(pos); pos += len(s)
    tags[273] = (4, o); out = b""; tail = b""
    for k in sorted(tags):
        t, v = tags[k]; b = struct.pack(e + code[t]*len(v), *v)
        if len(b) <= 4: out += struct.pack(e + "HHI", k, t, len(v)) + b.ljust(4, b"\0")
        else: out += struct.pack(e + "HHII", k, t, len(v), at + len(tail)); tail += b
    return (b"II*\0" if e == "<" else b"MM\0*") + struct.pack(e + "I", 8) + struct.pack(e + "H", n) + out + b"\0\0\0\0" + tail + b"".join(strips)
base = lambda bits, photo, spp=1: {256: (3, [W]), 257: (3, [H]), 258: (3, [bits]*spp), 259: (3, [1]), 262: (3, [photo]), 277: (3, [spp])}
d = bytes(r.randint(0, 256, 8*W*H).astype(np.uint8))
raw("white-is-zero.tif", ifd(">", base(8, 0), [d[:W*H]])); raw("gray16-big.tif", ifd(">", base(16, 1), [d[:2*W*H]])); raw("gray16-white.tif", ifd("<", base(16, 0), [d[:2*W*H]]))
raw("rgb16.tif", ifd("<", base(16, 2, 3), [d[:6*W*H]])); raw("rgb16-big.tif", ifd(">", base(16, 2, 3), [d[:6*W*H]]))
raw("planar.tif", ifd("<", {**base(8, 2, 3), 284: (3, [2])}, [d[:W*H], d[W*H:2*W*H], d[2*W*H:3*W*H]]))
raw("gray4.tif", ifd("<", base(4, 1), [d[:4*H]])); raw("gray2.tif", ifd("<", base(2, 1), [d[:2*H]])); raw("gray1-white.tif", ifd("<", base(1, 0), [d[:H]]))
raw("fill-order.tif", ifd("<", {**base(1, 1), 266: (3, [2])}, [d[:H]]))
cm = {320: (3, [int(v)*257 for v in r.randint(0, 256, 768)])}; raw("palette8.tif", ifd(">", {**base(8, 3), **cm}, [d[:W*H]]))
raw("palette4.tif", ifd("<", {**base(4, 3), 320: (3, [int(v)*257 for v in r.randint(0, 256, 48)])}, [d[:4*H]])); raw("palette-odd.tif", ifd("<", {**base(8, 3), 320: (3, [int(v) for v in r.randint(0, 65536, 768)])}, [d[:W*H]]))
raw("rgba-premultiplied.tif", ifd("<", {**base(8, 2, 4), 338: (3, [1])}, [d[:4*W*H]])); raw("rgba.tif", ifd("<", {**base(8, 2, 4), 338: (3, [2])}, [d[:4*W*H]])); raw("rgbx.tif", ifd("<", {**base(8, 2, 4), 338: (3, [0])}, [d[:4*W*H]]))
raw("rows2.tif", ifd("<", {**base(8, 1), 278: (4, [2])}, [d[:2*W], d[2*W:4*W], d[4*W:5*W]]))
raw("rgba16.tif", ifd("<", {**base(16, 2, 4), 338: (3, [2])}, [d[:8*W*H]]))
def gif(frame, screen=(20, 15), gce=b"", gct=pal256[:12], lct=b"", bg=1, inter=0):
    b = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80 | 1 if gct else 0, bg, 0) + gct + gce
    x0, y0, w, h = frame
    bits = []; 
    codes = []
    for i in range(w*h): codes += [4, (i*7 + i//w) % 4]
    codes.append(5); v = 0; nb = 0
    for c in codes: v |= c << nb; nb += 3
    z = v.to_bytes((nb+7)//8, "little"); sub = b"".join(bytes([len(z[i:i+255])]) + z[i:i+255] for i in range(0, len(z), 255)) + b"\0"
    return b + b"," + struct.pack("<HHHHB", x0, y0, w, h, (0x80 | 1 if lct else 0) | inter) + lct + b"\x02" + sub + b";"
g = b"!\xf9\x04\x01\0\0\x02\0"
raw("inside.gif", gif((3, 2, 9, 8))); raw("inside-transparent.gif", gif((3, 2, 9, 8), gce=g)); raw("outside.gif", gif((15, 10, 9, 8))); raw("local.gif", gif((0, 0, 20, 15), lct=pal256[40:52])); raw("local-inside.gif", gif((5, 5, 5, 5), lct=pal256[40:52]))
raw("no-palette.gif", gif((0, 0, 20, 15), gct=b"")); raw("interlaced-inside.gif", gif((2, 1, 11, 13), inter=0x40)); raw("comment.gif", gif((0, 0, 20, 15), gce=b"!\xfe\x05hello\0" + g)); raw("two-colours.gif", gif((0, 0, 20, 15), gct=pal256[:6]) if False else gif((0,0,20,15)))
for o in range(2, 9): raw("orientation%d.tif" % o, ifd("<", {**base(8, 2, 3), 274: (3, [o])}, [d[:3*W*H]]))
raw("index-beyond.gif", gif((0, 0, 20, 15), gct=pal256[:6]).replace(b"\x81\x01\0", b"\x80\x01\0", 1)); raw("index-beyond.bmp", bmp(8, b"".join(bytes([(i*W+j) % 9 for j in range(W)]) + b"\0" for i in range(H)), pal=pal256[:20], used=5))
raw("index-beyond.tga", tga(1, 8, bytes((i*3) % 60 for i in range(W*H)), 0, pal256[:120], 1, 0, 40, 24)); raw("rows-more.tif", ifd("<", {**base(8, 1), 278: (4, [400])}, [d[:W*H]]))
raw("palette1.bmp", bmp(1, bytes([0x5A, 0, 0, 0])*H, pal=pal256[:8])); raw("padding.bmp", bmp(24, (d[:3*W] + b"\0"*((-3*W) % 4))*H)); raw("tiles.tif", ifd("<", {**base(8, 1), 322: (3, [16]), 323: (3, [16]), 324: (4, [8]), 325: (4, [256])}, [d[:W*H]]))
raw("float.tif", ifd("<", {**base(32, 1), 339: (3, [3])}, [d[:4*W*H]])); raw("gray-alpha-rle.tga", tga(11, 16, b"".join(bytes([0]) + d[2*i:2*i+2] for i in range(W*H)), 0x28))
open(os.path.join(out, "animated.webp"), "wb").write(b"") or im.save(os.path.join(out, "animated.webp"), save_all=True, append_images=[im.rotate(90)], duration=50)
# What is refused, and a piece of the reason.
refused = {"animated.webp": "animations", "fax.tif": "fax compression", "group3.tif": "fax compression", "jpeg.tif": "JPEG compression", "tiles.tif": "tiles", "float.tif": "floating-point", "gray16-white.tif": "photometric interpretation 0", **{n: "2 samples" for n in os.listdir(out) if n.startswith("la-") and n.endswith(".tif")}}
res = {}
for n in sorted(os.listdir(out)):
    if n.endswith((".json", ".py")): continue
    try:
        if n in refused: res[n] = {"refused": refused[n]}; continue
        i = Image.open(os.path.join(out, n)); m = i.mode; c = i.convert("RGB"); res[n] = {"mode": m, "width": c.width, "height": c.height, "rgb_sha256": hashlib.sha256(c.tobytes()).hexdigest()}
    except Exception as e: res[n] = {"error": str(e)}
json.dump(res, open(os.path.join(out, "pillow.json"), "w"), indent=0)
for n, v in res.items(): print(n, v.get("mode"), v.get("error", "")) if "error" in v else None
