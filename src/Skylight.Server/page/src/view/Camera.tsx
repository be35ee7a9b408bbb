import { useEffect, useRef, useState } from 'preact/hooks';
import { Dialog } from './parts';

/** Why there is no picture of the camera. */
function reasonOf(error: unknown): string {
  switch ((error as DOMException).name) {
    case 'NotAllowedError': return 'The browser does not allow this page to use the camera. Allow it beside the address, and try again.';
    case 'NotFoundError': return 'There is no camera on this machine.';
    case 'NotReadableError': return 'Another program uses the camera.';
    default: return `The camera cannot be used: ${(error as Error).message}`;
  }
}

export function Camera(props: { onPhoto: (file: File) => void; onClose: () => void }) {
  const video = useRef<HTMLVideoElement>(null);
  const [fault, setFault] = useState('');
  const [isReady, setReady] = useState(false);
  useEffect(() => {
    let stream: MediaStream | null = null;
    let gone = false;
    const ideal = { facingMode: 'environment', width: { ideal: 1920 }, height: { ideal: 1440 } };
    navigator.mediaDevices.getUserMedia({ video: ideal, audio: false }).then(
      given => {
        if (gone) {
          given.getTracks().forEach(track => track.stop());
          return;
        }
        stream = given;
        video.current!.srcObject = given;
      },
      error => setFault(reasonOf(error)),
    );
    return () => {
      gone = true;
      stream?.getTracks().forEach(track => track.stop());
    };
  }, []);
  const take = () => {
    const { videoWidth, videoHeight } = video.current!;
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [videoWidth, videoHeight];
    canvas.getContext('2d')!.drawImage(video.current!, 0, 0);
    canvas.toBlob(blob => {
      if (blob) props.onPhoto(new File([blob], `photo-${new Date().toISOString().slice(0, 19).replace(/:/g, '-')}.jpg`, { type: blob.type }));
      props.onClose();
    }, 'image/jpeg', 0.92);
  };
  return (
    <Dialog label="Take a photo" class="camera" onClose={props.onClose}>
      {fault ? <p class="fault" role="alert">{fault}</p>
        : <video ref={video} autoplay playsInline muted onLoadedMetadata={() => setReady(true)} aria-label="What the camera sees" />}
      <footer>
        <button type="button" class="quiet" onClick={props.onClose}>Cancel</button>
        {!fault && <button type="button" class="primary" disabled={!isReady} onClick={take}>Take the photo</button>}
      </footer>
    </Dialog>
  );
}
